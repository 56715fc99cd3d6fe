// Hugging Face's transformers as the judge: it loads what we export, and we load what it saves.

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/data/byte_pair_tokenizer.hpp"
#include "models/data/sentencepiece_tokenizer.hpp"
#include "models/formats/huggingface.hpp"
#include "models/generate.hpp"
#include "runtime/tensor/device.hpp"
#include "tests/models/byte_pairs.hpp"
#include "tests/models/formats/support.hpp"

using namespace troupe;
using namespace formats_test;

namespace {

const std::vector<std::int32_t> tokens{3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 50, 0, 52};

/// The first Python that can import transformers; empty where none can.
const std::string& python() {
  static const std::string found = [] {
    const char* named = std::getenv("TROUPE_PYTHON");
    for (const std::string candidate : {named ? named : "python3", "python3", "/usr/bin/python3"})
      if (std::system(fmt::format("{} -c 'import torch, transformers' > /dev/null 2>&1", candidate).c_str()) == 0)
        return candidate;
    return std::string();
  }();
  return found;
}

#define REQUIRE_TRANSFORMERS()                                                                          \
  if (python().empty()) {                                                                               \
    MESSAGE("skipped: no Python here can import transformers; TROUPE_PYTHON may name one that can");    \
    return;                                                                                             \
  }

bool run_script(const std::string& arguments) {
  const auto command = fmt::format("{} {}/tests/models/formats/transformers_judge.py {}", python(),
                                   TROUPE_SOURCE_DIR, arguments);
  return std::system(command.c_str()) == 0;
}

/// Their logits at every position of `tokens`, one row after the other.
std::vector<float> their_logits(const fs::path& folder) {
  const auto out = folder / "logits.bin";
  REQUIRE(run_script(fmt::format("logits {} {} {}", folder.string(), out.string(), fmt::join(tokens, ","))));
  const auto bytes = read_file(out);
  std::vector<float> logits(bytes.size() / sizeof(float));
  std::memcpy(logits.data(), bytes.data(), logits.size() * sizeof(float));
  return logits;
}

std::vector<float> our_logits(const pretrained& what) {
  const auto model = make_transformer(what.settings);
  const auto stream = cpu_device().make_stream({});
  std::vector<tensor> parameters;
  for (const auto& each : what.parameters)
    parameters.push_back(stream->to_device(each.value));
  decoder decoder(model, *stream, std::move(parameters), what.settings.context);
  std::vector<float> logits;
  for (const auto token : tokens) {
    const auto row = decoder.advance(std::span(&token, 1));
    logits.insert(logits.end(), row.begin(), row.end());
  }
  return logits;
}

double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0.0, norm = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double(a[i]) - double(b[i]), 2);
    norm += std::pow(double(b[i]), 2);
  }
  REQUIRE(norm > 0.0);
  return std::sqrt(difference / norm);
}

}  // namespace

TEST_CASE("transformers computes the same from what we export") {
  REQUIRE_TRANSFORMERS();
  std::vector<transformer_settings> kinds{small_gpt2(), small_gpt2(), small_llama(), small_llama()};
  kinds[1].bias = false;
  kinds[1].tied_head = false;
  kinds[1].feed_forward = transformer_settings::feed_forward_kind::gelu;
  kinds[3].tied_head = true;
  kinds[3].norm_epsilon = 1e-3;
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    CAPTURE(i);
    scratch_folder folder;
    const auto model = random_model(kinds[i], 100 + i);
    export_huggingface(model, folder.path());
    CHECK(relative_error(our_logits(model), their_logits(folder.path())) < 1e-5);
  }
}

TEST_CASE("we compute the same from what transformers saves") {
  REQUIRE_TRANSFORMERS();
  for (const auto* kind : {"gpt2", "gpt2-shards", "llama", "llama-bfloat16"}) {
    CAPTURE(std::string(kind));
    scratch_folder folder;
    REQUIRE(run_script(fmt::format("make {} {}", kind, folder.path().string())));
    CHECK(relative_error(our_logits(import_huggingface(folder.path())), their_logits(folder.path())) < 1e-5);
  }
}

TEST_CASE("transformers makes the same tokens of a text, and the same text of tokens") {
  REQUIRE_TRANSFORMERS();
  const std::string text =
      "  int main() {\n\treturn x->f(\"na\xc3\xafve\", 42) . y ;  // \xe2\x82\xac \xf0\x9f\x98\x80\n}\n\n";
  const auto check = [&](std::shared_ptr<const tokenizer> tokens) {
    CAPTURE(tokens->kind());
    scratch_folder folder;
    auto model = random_model(small_gpt2(), 7);
    model.tokens = tokens;
    export_huggingface(model, folder.path());
    write_file(folder.path() / "text", text);
    REQUIRE(run_script(fmt::format("tokens {} {} {}", folder.path().string(), (folder.path() / "text").string(),
                                   (folder.path() / "ids").string())));
    CHECK(read_file(folder.path() / "ids") == fmt::format("{}", fmt::join(tokens->encode(text), ",")));
    CHECK(read_file(folder.path() / "text.decoded") == text);
  };
  check(make_character_tokenizer(text));
  check(make_byte_tokenizer());
  check(load_byte_pairs(some_byte_pairs().dump()));
  check(train_sentencepiece("int main() {\n  return f(x);\n}\nint x = 42;\nreturn x->f(y);\n", 300));
}
