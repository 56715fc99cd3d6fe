#include "models/generate.hpp"

#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "runtime/error.hpp"

namespace troupe {

decoder::decoder(const model& of, stream& on, std::vector<tensor> parameters, std::int64_t context)
    : model_(of), pass_(of, on) {
  if (context <= 0)
    throw std::invalid_argument(fmt::format("context: found {}, expected a positive number", context));
  pass_.parameters = std::move(parameters);
  pass_.training = false;
  pass_.cache = &cache_;
  cache_.capacity = context;
}

std::vector<float> decoder::advance(std::span<const std::int32_t> tokens) {
  assert(!tokens.empty());
  text_.insert(text_.end(), tokens.begin(), tokens.end());
  if (cache_.position + static_cast<std::int64_t>(tokens.size()) <= cache_.capacity)
    return run(tokens);
  cache_.position = 0;
  const auto kept = static_cast<std::size_t>(std::max<std::int64_t>(1, cache_.capacity / 2));
  text_.erase(text_.begin(), text_.end() - static_cast<std::ptrdiff_t>(std::min(kept, text_.size())));
  return run(text_);
}

std::vector<float> decoder::run(std::span<const std::int32_t> tokens) {
  const tensor input = make_host_tensor(dtype::int32, {1, static_cast<std::int64_t>(tokens.size())});
  std::ranges::copy(tokens, input.mutable_data<std::int32_t>());
  pass_.begin({input, {}}, {});
  for (std::size_t block = 0; block < model_.block_count(); ++block)
    model_.forward(block, pass_);
  tensor logits = pass_.logits;
  if (logits.type() != dtype::float32) {
    logits = pass_.on.allocate(dtype::float32, logits.shape());
    pass_.on.cast(pass_.logits, logits);
  }
  const tensor host = pass_.on.to_host(logits);
  return {host.elements<float>().begin(), host.elements<float>().end()};
}

namespace {

void check_prompt(const model& of, std::span<const std::int32_t> prompt) {
  if (prompt.empty())
    throw input_error("prompt: found no tokens, expected at least one to go on from");
  const std::size_t table = of.parameters().find("embedding.token");
  if (table == of.parameters().size())
    return;
  const std::int64_t vocabulary = of.parameters()[table].extents[0];
  for (const std::int32_t token : prompt)
    if (token < 0 || token >= vocabulary)
      throw input_error(fmt::format("prompt: found token {}, but the model has tokens 0 to {}: was it trained with "
                                    "another tokenizer?", token, vocabulary - 1));
}

}  // namespace

std::int64_t generate(const model& of, stream& on, std::vector<tensor> parameters,
                      std::span<const std::int32_t> prompt, const generation_settings& settings,
                      const std::function<bool(std::int32_t)>& on_token) {
  check_prompt(of, prompt);
  const sampler sample(settings.sampling);
  decoder text(of, on, std::move(parameters), settings.context);
  std::vector<std::int32_t> next(prompt.begin(), prompt.end());
  for (std::int64_t count = 0; count < settings.tokens_max; ++count) {
    const std::vector<float> logits = text.advance(next);
    const std::int32_t token = sample.draw(logits, static_cast<std::uint64_t>(count));
    if (token == settings.stop_token)
      return count;
    if (!on_token(token))
      return count + 1;
    next = {token};
  }
  return std::max<std::int64_t>(0, settings.tokens_max);
}

}  // namespace troupe
