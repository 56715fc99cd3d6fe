#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "models/data/tokenizer.hpp"
#include "models/model.hpp"

namespace troupe {

struct data_settings {
  enum class source_kind : std::uint8_t { automatic, text, folder, json_lines, token_shards };
  enum class order_kind : std::uint8_t { without_replacement, with_replacement };

  std::string path;                                   ///< a file, a folder, or a glob of token shards
  source_kind source = source_kind::automatic;        ///< automatic: by what stands at the path
  std::string glob = "*";                             ///< folder: which file names
  std::int64_t file_bytes_max = 1 << 20;              ///< folder: larger files are left out
  std::string field = "text";                         ///< json_lines: the field that holds the text
  tokenizer_settings tokens;
  order_kind order = order_kind::without_replacement;
  double validation_fraction = 0.1;                   ///< the corpus's last tokens (files: of the concatenation)
  std::string cache;                                  ///< folder for tokenised corpora; empty: ~/.cache/troupe
};

enum class split : std::uint8_t { train, validation };

/// A tokenised corpus, memory mapped, with a sample order that is a pure function of (seed, index).
/// Immutable; thread safe.
class dataset {
 public:
  virtual ~dataset() = default;

  /// Null for token shards without one.
  virtual std::shared_ptr<const tokenizer> tokens() const = 0;
  virtual std::int64_t vocabulary() const = 0;
  virtual std::int64_t token_count(split part) const = 0;

  /// Sample `index` (counted from the start of training over all epochs): `context` tokens and the tokens that
  /// follow each. Order: see data_settings::order. Without replacement, every window of an epoch comes exactly once
  /// before the next epoch, permuted anew by (seed, epoch).
  virtual void sample(split part, std::uint64_t seed, std::uint64_t index, std::int64_t context,
                      std::span<std::int32_t> tokens, std::span<std::int32_t> targets) const = 0;

  /// Content hash of corpus and tokenizer: a resumed run on other data is refused.
  virtual std::string fingerprint() const = 0;
};

/// Opens the corpus, tokenising it into the cache first where it is not there yet. `progress` (optional) hears
/// the fraction done. Throws input_error for what is missing or malformed.
std::shared_ptr<const dataset> open_dataset(const data_settings& settings, std::int64_t context,
                                            const std::function<void(double)>& progress = {});

/// A batch of samples first .. first + rows - 1, as host tensors.
batch read_batch(const dataset& from, split part, std::uint64_t seed, std::uint64_t first, std::int64_t rows,
                 std::int64_t context);

}  // namespace troupe
