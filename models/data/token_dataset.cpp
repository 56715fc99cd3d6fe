#include "models/data/token_dataset.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "models/data/sample_order.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

class token_dataset final : public dataset {
 public:
  explicit token_dataset(token_dataset_parts parts) : parts_(std::move(parts)) {}

  std::shared_ptr<const tokenizer> tokens() const override { return parts_.tokens; }
  std::int64_t vocabulary() const override { return parts_.vocabulary; }
  std::int64_t token_count(split part) const override { return stream(part).size(); }
  std::string summary() const override { return parts_.summary; }
  std::string warning() const override { return parts_.warning; }

  std::int64_t sample_count(split part, std::int64_t context) const override {
    const std::int64_t count = token_count(part);
    if (context < 1 || count <= context)
      return 0;
    return part == split::train ? sample_order::windows(count, context)
                                : sample_order::evaluation_windows(count, context);
  }

  void sample(split part, std::uint64_t seed, std::uint64_t index, std::int64_t context,
              std::span<std::int32_t> tokens, std::span<std::int32_t> targets) const override {
    assert(context > 0 && tokens.size() == static_cast<std::size_t>(context) && targets.size() == tokens.size());
    const token_stream& from = stream(part);
    if (from.size() <= context)
      throw input_error(fmt::format("the {} split has {} tokens, but a sample of context {} needs {}",
                                    part == split::train ? "train" : "validation", from.size(), context, context + 1));
    const std::int64_t first = start(part, from.size(), context, seed, index);
    from.read(first, tokens);
    from.read(first + 1, targets);
    // Checked when the file was opened; but a mapped file can change, and a token indexes the embedding's rows.
    const auto unknown = [&](std::int32_t t) { return t < 0 || t >= parts_.vocabulary; };
    if (unknown(tokens.front()) || std::any_of(targets.begin(), targets.end(), unknown))
      throw input_error(fmt::format("tokens outside the vocabulary of {} near token {}: the corpus changed while it is "
                                    "in use",
                                    parts_.vocabulary, first));
  }

  std::string fingerprint() const override {
    return to_string(content_hash()
                       .add(parts_.content)
                       .add(static_cast<std::uint64_t>(parts_.train.size()))
                       .add(static_cast<std::uint64_t>(parts_.order))
                       .value());
  }

 private:
  const token_stream& stream(split part) const noexcept {
    return part == split::train ? parts_.train : parts_.validation;
  }

  std::int64_t start(split part, std::int64_t count, std::int64_t context, std::uint64_t seed,
                     std::uint64_t index) const noexcept {
    if (part == split::validation)
      return sample_order::evaluation(count, context, index);
    return parts_.order == data_settings::order_kind::with_replacement
             ? sample_order::with_replacement(count, context, seed, index)
             : sample_order::without_replacement(count, context, seed, index);
  }

  token_dataset_parts parts_;
};

}  // namespace

std::shared_ptr<const dataset> make_dataset(token_dataset_parts parts) {
  return std::make_shared<token_dataset>(std::move(parts));
}

void split_tokens(const token_stream& all, double fraction, token_dataset_parts& parts) {
  if (!(fraction >= 0.0 && fraction < 1.0))
    throw input_error(fmt::format("data.validation_fraction is {}, expected at least 0 and less than 1", fraction));
  const auto train = static_cast<std::int64_t>(static_cast<double>(all.size()) * (1.0 - fraction));
  parts.train = all.slice(0, train);
  parts.validation = all.slice(train, all.size() - train);
}

std::shared_ptr<const dataset> make_token_dataset(std::vector<std::int32_t> tokens, std::int64_t vocabulary,
                                                  double validation_fraction, data_settings::order_kind order) {
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i] < 0 || tokens[i] >= vocabulary)
      throw input_error(fmt::format("token {} is {}, expected 0 .. {}", i, tokens[i], vocabulary - 1));
  const auto owner = std::make_shared<const std::vector<std::int32_t>>(std::move(tokens));
  const token_stream all({token_segment{owner, reinterpret_cast<const std::byte*>(owner->data()), sizeof(std::int32_t),
                                        static_cast<std::int64_t>(owner->size())}});
  token_dataset_parts parts;
  split_tokens(all, validation_fraction, parts);
  parts.vocabulary = vocabulary;
  parts.order = order;
  parts.content = content_hash()
                    .add(static_cast<std::uint64_t>(vocabulary))
                    .add_raw(owner->data(), owner->size() * sizeof(std::int32_t))
                    .value();
  parts.summary = fmt::format("{} tokens in memory", all.size());
  return make_dataset(std::move(parts));
}

batch read_batch(const dataset& from, split part, std::uint64_t seed, std::uint64_t first, std::int64_t rows,
                 std::int64_t context) {
  batch read{make_host_tensor(dtype::int32, {rows, context}), make_host_tensor(dtype::int32, {rows, context})};
  const auto width = static_cast<std::size_t>(context);
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto at = static_cast<std::size_t>(row) * width;
    from.sample(part, seed, first + static_cast<std::uint64_t>(row), context,
                read.tokens.mutable_elements<std::int32_t>().subspan(at, width),
                read.targets.mutable_elements<std::int32_t>().subspan(at, width));
  }
  return read;
}

}  // namespace troupe
