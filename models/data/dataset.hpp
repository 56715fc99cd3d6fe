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

  std::string path;                                   ///< a file, a folder, or a pattern of token shards or JSON lines
  source_kind source = source_kind::automatic;        ///< automatic: by what stands at the path
  std::string glob = "*";                             ///< folder: which file names, such as "*.hpp, *.cpp"
  std::int64_t file_bytes_max = 1 << 20;              ///< folder: larger files are left out
  std::string field = "text";                         ///< json_lines: the field that holds the text
  tokenizer_settings tokens;                          ///< token_shards: only a sentencepiece model, if one is named
  order_kind order = order_kind::without_replacement;
  /// The corpus's last tokens; unused where token shards with "val" in their names hold the split.
  double validation_fraction = 0.1;
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
  /// Every token is less than this.
  virtual std::int64_t vocabulary() const = 0;
  virtual std::int64_t token_count(split part) const = 0;

  /// Samples of `context` tokens in an epoch without replacement (train), or that evaluate each window once
  /// (validation); 0 where the split is too short for one.
  virtual std::int64_t sample_count(split part, std::int64_t context) const = 0;

  /// Sample `index` (counted from the start of training over all epochs): `context` tokens and the tokens that
  /// follow each. Order: see data_settings::order. Without replacement, every window of an epoch comes exactly once
  /// before the next epoch, permuted anew by (seed, epoch). Of the validation split, samples 0 .. n - 1 are the same
  /// whatever the seed, and spread evenly over the split for any n.
  /// Throws input_error where the split is too short for a sample.
  virtual void sample(split part, std::uint64_t seed, std::uint64_t index, std::int64_t context,
                      std::span<std::int32_t> tokens, std::span<std::int32_t> targets) const = 0;

  /// Content hash of corpus, tokenizer, split and order: a resumed run on other data is refused.
  virtual std::string fingerprint() const = 0;

  /// One line for people: what was read, and what was left out.
  virtual std::string summary() const = 0;
  /// Of what is missing that somebody may have counted on; empty: nothing.
  virtual std::string warning() const { return {}; }
};

/// Opens the corpus, tokenising it into the cache first where it is not there yet. `progress` (optional) hears
/// the fraction done. With `given`, text is read with that tokenizer, whatever the settings say: a checkpoint's.
/// Throws input_error for what is missing or malformed.
std::shared_ptr<const dataset> open_dataset(const data_settings& settings, std::int64_t context,
                                            const std::function<void(double)>& progress = {},
                                            std::shared_ptr<const tokenizer> given = {});

/// The same to evaluate on: all that stands there is the validation split, whatever the settings say of one.
std::shared_ptr<const dataset> open_whole_dataset(const data_settings& settings, std::int64_t context,
                                                  std::shared_ptr<const tokenizer> given = {});

/// Tokens that a program made itself. Throws input_error for tokens outside 0 .. vocabulary - 1.
std::shared_ptr<const dataset> make_token_dataset(
  std::vector<std::int32_t> tokens, std::int64_t vocabulary, double validation_fraction = 0.1,
  data_settings::order_kind order = data_settings::order_kind::without_replacement);

/// A batch of samples first .. first + rows - 1, as host tensors.
batch read_batch(const dataset& from, split part, std::uint64_t seed, std::uint64_t first, std::int64_t rows,
                 std::int64_t context);

}  // namespace troupe
