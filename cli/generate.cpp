#include "models/generate.hpp"

#include <limits>
#include <memory>
#include <random>
#include <stdexcept>

#include <fmt/core.h>

#include "cli/argument_checks.hpp"
#include "cli/command.hpp"
#include "cli/compute_options.hpp"
#include "cli/progress.hpp"
#include "cli/saved_model.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

constexpr std::uint64_t tokens_max = 1'000'000'000;  // more is a slip of the hand

struct generate_options {
  std::string path;
  std::string prompt;
  generation_settings settings;
  compute_options compute;
};

/// Turns tokens into text as they come. A character may take several tokens, and a piece's text may depend on the one
/// before it: what is held back until it is certain is decoded together with the last tokens that were written.
class text_stream {
 public:
  explicit text_stream(const tokenizer& tokens) : tokenizer_(tokens) {}

  void add(std::int32_t token) {
    window_.push_back(token);
    const auto text = tokenizer_.decode(window_);
    constexpr std::string_view incomplete = "\xef\xbf\xbd";  // U+FFFD
    if (text.size() > written_bytes_ && !text.ends_with(incomplete))
      write(text);
  }

  /// Writes what was held back.
  void finish() {
    const auto text = tokenizer_.decode(window_);
    if (text.size() > written_bytes_)
      write(text);
  }

 private:
  void write(const std::string& text) {
    fmt::print("{}", std::string_view(text).substr(written_bytes_));
    std::fflush(stdout);
    // What was just written becomes the context of what comes.
    window_.erase(window_.begin(), window_.begin() + static_cast<std::ptrdiff_t>(context_tokens_));
    context_tokens_ = window_.size();
    written_bytes_ = tokenizer_.decode(window_).size();
  }

  const tokenizer& tokenizer_;
  std::vector<std::int32_t> window_;
  std::size_t context_tokens_ = 0;  ///< of the window, written before the last write
  std::size_t written_bytes_ = 0;   ///< of the window's text
};

std::vector<std::int32_t> encode_prompt(const tokenizer& tokens, const std::string& prompt) {
  if (!prompt.empty())
    return tokens.encode(prompt);
  // A text begins after the one before it.
  if (tokens.end_of_document() >= 0)
    return {tokens.end_of_document()};
  return tokens.encode("\n");
}

exit_code generate_text(const generate_options& options) {
  console people(stderr, false);
  const auto saved =
    load_saved_model(options.path, [&](const std::string& message) { people.warn("warning: " + message); });
  const auto& tokens = saved.require_tokens();
  auto settings = options.settings;
  settings.context = saved.run.model.context;
  settings.stop_token = tokens.end_of_document();
  const auto on = open_stream(options.compute);
  const auto prompt = encode_prompt(tokens, options.prompt);
  fmt::print("{}", options.prompt);
  text_stream out(tokens);
  try {
    generate(*saved.model, *on, saved.parameters_on(*on), prompt, settings, [&](std::int32_t token) {
      out.add(token);
      return true;
    });
  } catch (const std::invalid_argument& fault) {
    throw usage_error(fault.what());
  }
  out.finish();
  fmt::print("\n");
  return exit_code::done;
}

}  // namespace

void add_generate(CLI::App& app, action& chosen) {
  const auto options = std::make_shared<generate_options>();
  auto& sampling = options->settings.sampling;
  sampling.seed = std::random_device{}();
  auto* command = app.add_subcommand("generate", "continue a prompt with a trained model");
  command->add_option("CHECKPOINT", options->path, "a run directory or one of its cuts")->required();
  command->add_option("--prompt", options->prompt, "what to continue; default: the start of a text");
  command->add_option("--tokens", options->settings.tokens_max, "tokens to generate at most")
    ->transform(argument::whole(0, tokens_max))
    ->capture_default_str();
  command->add_option("--temperature", sampling.temperature, "divides the logits; 0: always the likeliest token")
    ->check(argument::at_least(0))
    ->capture_default_str();
  command->add_option("--top-k", sampling.top_k, "only the k likeliest tokens; 0: all")
    ->transform(argument::whole(0, tokens_max))
    ->capture_default_str();
  command->add_option("--top-p", sampling.top_p, "only the fewest tokens that have this probability together")
    ->check(argument::above_to(0, 1))
    ->capture_default_str();
  command->add_option("--seed", sampling.seed, "the same seed gives the same text; default: another one each time")
    ->transform(argument::whole(0, std::numeric_limits<std::uint64_t>::max()));
  add_compute_options(*command, options->compute);
  command->callback([&chosen, options] { chosen = [options] { return generate_text(*options); }; });
}

}  // namespace troupe
