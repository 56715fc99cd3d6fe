#include <map>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "models/data/byte_pair_tokenizer.hpp"
#include "models/data/sentencepiece_tokenizer.hpp"
#include "models/formats/convert.hpp"
#include "models/formats/huggingface.hpp"
#include "models/formats/safetensors.hpp"
#include "runtime/error.hpp"
#include "tests/models/byte_pairs.hpp"
#include "tests/models/formats/support.hpp"

using namespace troupe;
using namespace formats_test;
using nlohmann::json;

namespace {

void check_equal(const pretrained& a, const pretrained& b) {
  REQUIRE(a.parameters.size() == b.parameters.size());
  for (std::size_t i = 0; i < a.parameters.size(); ++i) {
    CAPTURE(a.parameters[i].name);
    CHECK(a.parameters[i].name == b.parameters[i].name);
    CHECK(same(a.parameters[i].value, b.parameters[i].value));
  }
}

std::map<std::string, tensor> tensors_of(const fs::path& folder) {
  std::map<std::string, tensor> out;
  for (auto& each : read_safetensors(folder / "model.safetensors").tensors)
    out.emplace(each.name, each.value);
  return out;
}

void rewrite(const fs::path& folder, const std::map<std::string, tensor>& tensors) {
  std::vector<named_tensor> list;
  for (const auto& [name, value] : tensors)
    list.push_back({name, value});
  write_safetensors(folder / "model.safetensors", list, {{"format", "pt"}});
}

void edit_config(const fs::path& folder, const std::string& key, const json& value) {
  auto config = json::parse(read_file(folder / "config.json"));
  config[key] = value;
  write_file(folder / "config.json", config.dump());
}

}  // namespace

TEST_CASE("import undoes export, bit for bit") {
  std::vector<std::pair<std::string, transformer_settings>> kinds;
  kinds.emplace_back("gpt2", small_gpt2());
  kinds.emplace_back("gpt2 without biases", small_gpt2());
  kinds.back().second.bias = false;
  kinds.emplace_back("gpt2 with a head of its own", small_gpt2());
  kinds.back().second.tied_head = false;
  kinds.back().second.feed_forward = transformer_settings::feed_forward_kind::relu;
  kinds.back().second.dropout = 0.25;
  kinds.emplace_back("llama", small_llama());
  kinds.emplace_back("llama, tied, with fewer key heads", small_llama());
  kinds.back().second.tied_head = true;
  kinds.back().second.kv_heads = 2;
  kinds.back().second.rotary_theta = 500000.0;
  kinds.back().second.norm_epsilon = 1e-6;
  std::uint64_t seed = 40;
  for (const auto& [name, settings] : kinds) {
    CAPTURE(name);
    CAPTURE(++seed);
    scratch_folder folder;
    const auto original = random_model(settings, seed);
    export_huggingface(original, folder.path() / "new" / "folder");
    std::string note;
    const auto imported = import_huggingface(folder.path() / "new" / "folder", &note);
    CHECK(note.find("without a tokenizer") != std::string::npos);
    CHECK(imported.settings.vocabulary == original.settings.vocabulary);
    CHECK(imported.settings.context == original.settings.context);
    CHECK(imported.settings.layers == original.settings.layers);
    CHECK(imported.settings.heads == original.settings.heads);
    CHECK(imported.settings.kv_heads == original.settings.kv_heads);
    CHECK(imported.settings.channels == original.settings.channels);
    CHECK(imported.settings.feed_forward_channels == original.settings.feed_forward_channels);
    CHECK(imported.settings.positions == original.settings.positions);
    CHECK(imported.settings.norm == original.settings.norm);
    CHECK(imported.settings.feed_forward == original.settings.feed_forward);
    CHECK(imported.settings.bias == original.settings.bias);
    CHECK(imported.settings.tied_head == original.settings.tied_head);
    CHECK(imported.settings.dropout == original.settings.dropout);
    CHECK(imported.settings.norm_epsilon == original.settings.norm_epsilon);
    CHECK(imported.settings.rotary_theta == original.settings.rotary_theta);
    check_equal(original, imported);
  }
}

TEST_CASE("half-precision files are read as the float32 they stand for") {
  for (const auto type : {dtype::bfloat16, dtype::float16}) {
    scratch_folder folder;
    auto model = random_model(small_llama(), 9);
    export_huggingface(model, folder.path(), type);
    CHECK(tensors_of(folder.path()).begin()->second.type() == type);
    for (auto& each : model.parameters)
      each.value = converted(converted(each.value, type), dtype::float32);
    check_equal(model, import_huggingface(folder.path()));
  }
}

TEST_CASE("a model in several files, and one without the class's prefix") {
  scratch_folder folder;
  const auto model = random_model(small_gpt2(), 10);
  export_huggingface(model, folder.path());
  const auto tensors = tensors_of(folder.path());
  SUBCASE("several files") {
    std::vector<named_tensor> parts[2];
    json index;
    for (const auto& [name, value] : tensors) {
      const auto part = name.size() % 2;
      parts[part].push_back({name, value});
      index["weight_map"][name] = "model-" + std::to_string(part) + ".safetensors";
    }
    write_safetensors(folder.path() / "model-0.safetensors", parts[0], {});
    write_safetensors(folder.path() / "model-1.safetensors", parts[1], {});
    fs::remove(folder.path() / "model.safetensors");
    write_file(folder.path() / "model.safetensors.index.json", index.dump());
    check_equal(model, import_huggingface(folder.path()));

    index["weight_map"].begin().value() = "../model-0.safetensors";
    write_file(folder.path() / "model.safetensors.index.json", index.dump());
    CHECK_THROWS_WITH_AS(import_huggingface(folder.path()), doctest::Contains("in no file of this folder"),
                         input_error);
  }
  SUBCASE("no prefix, and the buffers of older versions") {
    std::map<std::string, tensor> bare;
    for (const auto& [name, value] : tensors)
      bare.emplace(name.substr(std::string("transformer.").size()), value);
    bare.emplace("h.0.attn.bias", make_host_tensor(dtype::float32, {1, 1, 17, 17}));
    bare.emplace("h.0.attn.masked_bias", make_host_tensor(dtype::float32, {}));
    rewrite(folder.path(), bare);
    check_equal(model, import_huggingface(folder.path()));
  }
}

TEST_CASE("models that neither class computes are not exported") {
  scratch_folder folder;
  const auto refused = [&](transformer_settings settings, const char* setting) {
    CHECK_THROWS_WITH_AS(export_huggingface(random_model(settings, 1), folder.path() / "out"),
                         doctest::Contains(setting), input_error);
    CHECK_FALSE(fs::exists(folder.path() / "out"));
  };
  auto settings = small_llama();
  settings.norm = transformer_settings::norm_kind::layer_norm;
  refused(settings, "model.norm");
  settings = small_llama();
  settings.feed_forward = transformer_settings::feed_forward_kind::silu;
  refused(settings, "model.feed_forward");
  settings = small_llama();
  settings.positions = transformer_settings::position_kind::learned;
  refused(settings, "model.norm");
  settings = small_gpt2();
  settings.feed_forward = transformer_settings::feed_forward_kind::swiglu;
  refused(settings, "model.feed_forward");
  settings = small_gpt2();
  settings.kv_heads = 1;
  refused(settings, "model.kv_heads");
}

TEST_CASE("a folder that is not what it says is refused") {
  scratch_folder folder;
  const auto& path = folder.path();
  export_huggingface(random_model(small_gpt2(), 2), path);
  const auto refused = [&](const char* fault) {
    CAPTURE(std::string(fault));
    CHECK_THROWS_WITH_AS(import_huggingface(path), doctest::Contains(fault), input_error);
  };
  SUBCASE("config.json") {
    const auto edited = [&](const std::string& key, const json& value, const char* fault) {
      const auto good = read_file(path / "config.json");
      edit_config(path, key, value);
      refused(fault);
      write_file(path / "config.json", good);
    };
    edited("model_type", "bert", "'model_type': found \"bert\", expected \"gpt2\" or \"llama\"");
    edited("model_type", nullptr, "'model_type': found nothing");
    edited("n_layer", 0, "'n_layer': found 0, expected a whole number from 1 to");
    edited("n_layer", 4000, "tells of 4000 layers");
    edited("n_layer", 4097, "'n_layer': found 4097, expected a whole number from 1 to 4096");
    edited("n_positions", 1048577, "expected a whole number from 1 to 1048576");
    edited("n_layer", 1, "tensor 'transformer.h.1.");
    edited("n_layer", 3, "there is no tensor 'transformer.h.2.ln_1.weight'");
    edited("n_head", 5, "heads");
    edited("n_head", "many", "'n_head': found \"many\", expected a whole number");
    edited("n_embd", 1e300, "'n_embd'");
    edited("n_embd", 48, "expected floating-point numbers of shape [53, 48]");
    edited("vocab_size", 18446744073709551615u, "'vocab_size'");
    edited("n_inner", 41, "expected floating-point numbers of shape [24, 41]");
    edited("activation_function", "mish", "'activation_function': found \"mish\"");
    edited("layer_norm_epsilon", 0, "'layer_norm_epsilon'");
    edited("scale_attn_by_inverse_layer_idx", true, "not supported");
    edited("scale_attn_weights", false, "not supported");
    for (const auto wrong : {-0.1, 1.0, 1.5})
      edited("resid_pdrop", wrong, "'resid_pdrop': found");
    edited("troupe_bias", false, "is not zero");
    edited("tie_word_embeddings", false, "there is no tensor 'lm_head.weight'");
    write_file(path / "config.json", "{");
    refused("config.json: is no JSON");
    fs::remove(path / "config.json");
    refused("config.json: cannot be read");
  }
  SUBCASE("tensors") {
    auto tensors = tensors_of(path);
    auto changed = tensors;
    changed.erase("transformer.ln_f.weight");
    rewrite(path, changed);
    refused("there is no tensor 'transformer.ln_f.weight'");
    changed = tensors;
    changed.emplace("transformer.h.0.adapter.weight", tensors.begin()->second);
    rewrite(path, changed);
    refused("'transformer.h.0.adapter.weight' belongs to no part");
    changed = tensors;
    changed["transformer.ln_f.weight"] = make_host_tensor(dtype::int32, {24});
    rewrite(path, changed);
    refused("is int32[24], expected floating-point numbers of shape [24]");
  }
  SUBCASE("llama") {
    export_huggingface(random_model(small_llama(), 2), path);
    edit_config(path, "rope_scaling", {{"type", "linear"}, {"factor", 2.0}});
    refused("scaled rotary positions");
    edit_config(path, "rope_scaling", nullptr);
    edit_config(path, "rope_parameters", {{"rope_type", "yarn"}});
    refused("scaled rotary positions");
    edit_config(path, "rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1234.5}});
    CHECK(import_huggingface(path).settings.rotary_theta == 1234.5);
    edit_config(path, "attention_bias", true);
    refused("'attention_bias'");
  }
}

TEST_CASE("tokenizers come back") {
  scratch_folder folder;
  auto model = random_model(small_gpt2(), 3);
  const std::string text = "Hi, \"you\"!\n\tna\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80 \\ end.";
  const auto check = [&](std::shared_ptr<const tokenizer> tokens) {
    model.tokens = tokens;
    export_huggingface(model, folder.path());
    std::string note;
    const auto back = import_huggingface(folder.path(), &note).tokens;
    CHECK(note.empty());
    REQUIRE(back);
    CHECK(back->kind() == tokens->kind());
    CHECK(back->serialize() == tokens->serialize());
    CHECK(back->encode(text) == tokens->encode(text));
  };
  check(make_character_tokenizer(text));
  check(make_byte_tokenizer());
  check(load_byte_pairs(some_byte_pairs().dump()));
  check(train_sentencepiece("the cat sat on the mat\nthe dog sat on the log\n", 300));

  fs::remove(folder.path() / "tokenizer.model");
  write_file(folder.path() / "tokenizer.json", R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})");
  std::string note;
  CHECK_FALSE(import_huggingface(folder.path(), &note).tokens);
  CHECK(note.find("'pre_tokenizer' is null, which is not supported; the model comes without a tokenizer") !=
        std::string::npos);
  write_file(folder.path() / "tokenizer.json", "[");
  CHECK_THROWS_AS(import_huggingface(folder.path()), input_error);
}

TEST_CASE("the parameters of a cut are found over all its shards") {
  scratch_folder folder;
  const auto model = random_model(small_llama(), 4);
  checkpoint_store store(folder.path(), {});
  shard_snapshot parts[2]{{0, 1, {}, {}}, {1, 1, {}, {}}};
  for (std::size_t i = 0; i < model.parameters.size(); ++i)
    parts[i % 2].tensors.push_back(model.parameters[i]);
  store.write_shard(1, parts[0]);
  store.write_shard(1, parts[1]);
  const auto read = read_cut(store.publish({1, 0, 2, "", {}}));
  const auto found = parameters_of(read, model.settings);
  REQUIRE(found.size() == model.parameters.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CHECK(found[i].name == model.parameters[i].name);
    CHECK(same(found[i].value, model.parameters[i].value));
  }
  CHECK_THROWS_WITH_AS(parameters_of(read, small_gpt2()), doctest::Contains("'embedding.token' is float32[53, 32]"),
                       input_error);
}
