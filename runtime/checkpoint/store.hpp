#pragma once

/// Checkpoints on disk.
///
/// A cut is one directory `step-000000123` below the store's: `manifest.bin` (Cap'n Proto) and one
/// `shard-0000.bin` per shard whose tensors are aligned for memory mapping. It is written aside as
/// `.writing-step-000000123`, every file checksummed (xxh3) and flushed, and published by one atomic rename.
/// Readers recognise a torn or corrupt cut and fall back to the one before.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/checkpoint/file_writer.hpp"
#include "runtime/tensor/tensor.hpp"

namespace troupe {

struct named_tensor {
  std::string name;
  tensor value;  ///< in host memory; maps the file when read from a cut
};

/// Which gradients of one lane a shard has applied: all steps below `next_step`, each once.
struct lane_progress {
  std::uint32_t lane = 0;
  std::uint64_t next_step = 0;
  std::uint64_t applied = 0;  ///< gradients that had effect, counted one by one: equals next_step, or P1 is broken
};

/// What a shard keeps: its part of the parameter space and optimizer state, and what it has applied (P1).
struct shard_snapshot {
  std::uint32_t shard = 0;
  std::uint64_t version = 0;
  std::vector<lane_progress> applied;
  std::vector<named_tensor> tensors;  ///< handles: an actor that goes on writes aside (copy on write)
};

/// What a cut says about itself besides its shards.
struct cut_manifest {
  std::uint64_t step = 0;
  std::uint64_t epoch = 0;
  std::uint32_t shard_count = 0;
  std::string created;                           ///< ISO 8601, UTC; empty: now
  std::map<std::string, std::string> documents;  ///< resolved configuration, tokenizer, data fingerprint, ...
};

/// A verified cut. Its tensors map the files (privately: writing to one changes no file) and stay valid while any
/// handle lives.
struct cut {
  std::filesystem::path path;
  cut_manifest manifest;
  std::vector<shard_snapshot> shards;

  /// By name over all shards; an empty handle where there is none such.
  tensor find(const std::string& name) const;
};

struct retention {
  std::uint32_t keep_count = 3;        ///< newest cuts kept; 0: all
  std::chrono::seconds keep_age{0};    ///< cuts younger than this are kept as well
};

class checkpoint_store {
 public:
  struct options {
    retention keep;
    bool flush = true;     ///< fsync; off only where a test does not need it
    write_hook hook = {};  ///< called before every step of writing
  };
  /// Touches nothing: the directory is made by the first write, or by make_ready().
  checkpoint_store(std::filesystem::path directory, options chosen);

  /// Makes the directory, so that a bad place shows before there is anything to lose. Throws system_error.
  void make_ready() const;

  /// Writes one shard's part of the cut at `step` aside. Parts of a cut may be written by different threads, in any
  /// order, and again (the last one counts). Throws system_error. Returns the bytes written.
  std::size_t write_shard(std::uint64_t step, const shard_snapshot& part);
  /// Publishes the cut whose shards 0 .. shard_count - 1 were all written, then applies retention.
  /// Returns its directory. One thread at a time. A cut of that step which was published before is replaced; one that
  /// readers map stays good for them. Throws input_error where a part is missing or torn, system_error.
  std::filesystem::path publish(const cut_manifest& manifest);
  /// Removes what was written aside and never published. REQUIRES: nobody is writing a cut.
  void discard_unpublished();

  /// The newest good cut. Each one passed over is told to `warn` as one line: which, what is wrong, what is used
  /// instead.
  std::optional<cut> latest(const std::function<void(const std::string&)>& warn) const;
  /// Steps of the published cuts, oldest first, unverified.
  std::vector<std::uint64_t> steps() const;

  const std::filesystem::path& directory() const noexcept { return directory_; }
  /// Where the cut of this step stands, if there is one.
  std::filesystem::path path_of(std::uint64_t step) const;

 private:
  std::filesystem::path aside(std::uint64_t step) const;
  void apply_retention(std::uint64_t newest);

  std::filesystem::path directory_;
  options options_;
};

/// The step in the name of a cut's directory; nothing where the name is no cut's.
std::optional<std::uint64_t> step_of(const std::filesystem::path& directory);

/// What a cut says about itself; its shards are not looked at. Throws input_error naming file and fault.
cut_manifest read_manifest(const std::filesystem::path& directory);

/// Reads and verifies one cut directory. Throws input_error naming file and fault.
cut read_cut(const std::filesystem::path& directory);

}  // namespace troupe
