#pragma once

/// One way to move messages between two processes, as thin as its users would meet it.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/tensor/tensor.hpp"

namespace troupe::bench {

inline constexpr std::size_t bulk_bytes = 4'000'000;

/// A small message.
struct control {
  std::uint64_t what = 0;
  std::uint64_t number = 0;
};

class contestant {
 public:
  virtual ~contestant() = default;

  /// Called on the contestant's own thread, and may call `send`. Set before anything else.
  std::function<void(control)> on_control;
  std::function<void()> on_bulk;

  /// One side listens and tells where, the other connects; both return when messages can be sent, `listen` before.
  virtual std::string listen() = 0;
  virtual void connect(const std::string& where) = 0;

  virtual void send(control message) = 0;
  /// Sends `bulk_bytes` from memory that stays as it is; blocks where too much waits.
  virtual void send_bulk() = 0;
};

/// Sources of bulk messages, so many that they do not stay in a processor's cache.
inline std::vector<tensor> make_sources() {
  std::vector<tensor> out;
  for (int i = 0; i < 16; ++i) {
    out.push_back(make_host_tensor(dtype::uint8, {static_cast<std::int64_t>(bulk_bytes)}));
    std::fill_n(out.back().mutable_bytes(), bulk_bytes, static_cast<std::byte>(i));
  }
  return out;
}

std::unique_ptr<contestant> make_troupe();
std::unique_ptr<contestant> make_troupe_tls();
std::unique_ptr<contestant> make_caf();
std::unique_ptr<contestant> make_sockets();
#ifdef TROUPE_BENCH_UCX
std::unique_ptr<contestant> make_ucx();
#endif

}  // namespace troupe::bench
