#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>

namespace troupe::gpu {

/// Threads that end something, one for each, so that whoever wants an end need not wait for it, and no end waits for
/// another. When this is destroyed it waits until they are through, but no longer than ten seconds: who is stuck then is
/// left behind. Thread safe.
class endings {
 public:
  endings() = default;
  ~endings();
  endings(const endings&) = delete;
  endings& operator=(const endings&) = delete;

  /// REQUIRES: `end` throws nothing.
  void begin(std::function<void()> end);

 private:
  struct count {
    std::mutex mutex;
    std::condition_variable fewer;
    std::size_t under_way = 0;
  };

  std::shared_ptr<count> count_ = std::make_shared<count>();
};

}  // namespace troupe::gpu
