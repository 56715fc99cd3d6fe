#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "runtime/checkpoint/format.hpp"

namespace troupe {

/// What the coordinator of a job on a cluster decided, as far as whoever takes the job over must know it: one small file
/// in the run's folder, replaced atomically (runtime/wire/checkpoint.capnp has its format). It says
///
///   - which run this is, so that nodes that outlive a head offer what they hold to this run's next head and to no
///     other's;
///   - which process owns the run. Who takes it over writes its own name here, and its predecessor, should it live still,
///     finds it and leaves. This is what protects a run on file systems without locks that reach all machines. Between
///     looking and writing another process may come, so that a cut that was being published then is still published;
///   - the epoch: a successor's are above all of its predecessor's;
///   - the newest cut that all shards had in memory.
///
/// Thread safe.
class job_journal {
 public:
  /// Takes the run over: goes on with what `file` says where `resume`, and else draws a new run. What cannot be read is
  /// told to `warn`, and the run gets a new name: what nodes hold of it cannot be told from another's then. Throws
  /// system_error.
  job_journal(std::filesystem::path file, bool resume, bool flush, const std::function<void(const std::string&)>& warn);

  const std::string& run() const noexcept { return run_; }
  /// Of the predecessor, until a cut is noted.
  std::optional<cut_id> in_memory() const;
  /// False: another process has taken the run over.
  bool is_ours() const;

  /// All shards return to the cut of `step`, under the epoch that is returned.
  std::uint64_t begin_epoch(std::uint64_t step);
  /// All shards have taken theirs and hold it.
  void note_cut(const cut_id& taken);

 private:
  void write();

  const std::filesystem::path file_;
  const bool flush_;
  std::string run_;
  const std::string head_;
  mutable std::mutex mutex_;
  std::uint64_t epoch_ = 0;
  std::optional<cut_id> in_memory_;
};

}  // namespace troupe
