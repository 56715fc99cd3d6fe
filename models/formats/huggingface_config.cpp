#include "models/formats/huggingface_config.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "models/json_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

using settings_t = transformer_settings;
using feed_forward_kind = settings_t::feed_forward_kind;

constexpr std::int64_t extent_max = settings_t::extent_max;
constexpr std::int64_t layers_max = settings_t::layers_max;

/// Our own key, which transformers keeps and ignores: whether the biases it needs are parameters or only zeros.
constexpr const char* bias_key = "troupe_bias";

/// The first name is the one that is written.
constexpr std::array<std::pair<std::string_view, feed_forward_kind>, 6> activations{{
    {"gelu_new", feed_forward_kind::gelu_tanh},
    {"gelu_pytorch_tanh", feed_forward_kind::gelu_tanh},
    {"gelu", feed_forward_kind::gelu},
    {"relu", feed_forward_kind::relu},
    {"silu", feed_forward_kind::silu},
    {"swish", feed_forward_kind::silu},
}};

std::string_view activation_name(feed_forward_kind kind) {
  for (const auto& [name, value] : activations)
    if (value == kind)
      return name;
  throw input_error("model.feed_forward: found 'swiglu', but GPT-2 in transformers has no gated activation; "
                    "only models with rotary positions, RMS normalisation and SwiGLU are Llamas");
}

void require(bool holds, const char* setting, const char* found, const char* expected) {
  if (!holds)
    throw input_error(fmt::format("model.{}: found {}, but no class of transformers computes that with the rest of "
                                  "this model; expected {}", setting, found, expected));
}

/// Refuses a switch of theirs that changes what is computed.
void require_flag(const json_members& members, const char* key, bool expected) {
  if (members.flag(key).value_or(expected) != expected)
    throw members.unexpected(key, expected ? "true; the other way is not supported" : "false: this is not supported");
}

double positive(const json_members& members, const char* key, double fallback) {
  const auto value = members.number(key).value_or(fallback);
  if (!(value > 0.0 && value < 1e30))
    throw members.unexpected(key, "a positive number");
  return value;
}

double probability(const json_members& members, const char* key, double fallback) {
  const auto value = members.number(key).value_or(fallback);
  if (!(value >= 0.0 && value < 1.0))
    throw members.unexpected(key, "a probability from 0 to below 1");
  return value;
}

settings_t read_gpt2(const json_members& members) {
  auto out = settings_t::gpt2();
  require_flag(members, "scale_attn_weights", true);
  require_flag(members, "scale_attn_by_inverse_layer_idx", false);
  require_flag(members, "add_cross_attention", false);
  out.vocabulary = members.required("vocab_size", 1, settings_t::vocabulary_max);
  out.context = members.required("n_positions", 1, extent_max);
  out.channels = members.required("n_embd", 1, extent_max);
  out.layers = members.required("n_layer", 1, layers_max);
  out.heads = members.required("n_head", 1, extent_max);
  out.feed_forward_channels = 4 * out.channels;
  if (members.integer("n_inner") || out.feed_forward_channels > extent_max)
    out.feed_forward_channels = members.required("n_inner", 1, extent_max);
  const auto activation = members.text("activation_function").value_or("gelu_new");
  const auto* found = std::find_if(activations.begin(), activations.end(),
                                   [&](const auto& each) { return each.first == activation; });
  if (found == activations.end())
    throw members.unexpected("activation_function", "gelu_new, gelu_pytorch_tanh, gelu, relu, silu or swish");
  out.feed_forward = found->second;
  out.norm_epsilon = positive(members, "layer_norm_epsilon", 1e-5);
  out.dropout = probability(members, "resid_pdrop", 0.1);
  out.bias = members.flag(bias_key).value_or(true);
  out.tied_head = members.flag("tie_word_embeddings").value_or(true);
  return out;
}

double read_rotary_theta(const json_members& members, const std::string& source) {
  if (members.object("rope_scaling"))
    throw members.unexpected("rope_scaling", "null; scaled rotary positions are not supported");
  const auto* parameters = members.object("rope_parameters");  // of transformers 5
  if (!parameters)
    return positive(members, "rope_theta", 10000.0);
  const json_members nested(*parameters, source);
  if (nested.text("rope_type").value_or("default") != "default")
    throw nested.unexpected("rope_type", "\"default\"; scaled rotary positions are not supported");
  return positive(nested, "rope_theta", 10000.0);
}

settings_t read_llama(const json_members& members, const std::string& source) {
  auto out = settings_t::llama();
  require_flag(members, "attention_bias", false);
  require_flag(members, "mlp_bias", false);
  if (const auto activation = members.text("hidden_act"); activation && *activation != "silu")
    throw members.unexpected("hidden_act", "\"silu\"");
  out.vocabulary = members.required("vocab_size", 1, settings_t::vocabulary_max);
  out.context = members.integer("max_position_embeddings") ? members.required("max_position_embeddings", 1, extent_max)
                                                           : 2048;
  out.channels = members.required("hidden_size", 1, extent_max);
  out.layers = members.required("num_hidden_layers", 1, layers_max);
  out.heads = members.required("num_attention_heads", 1, extent_max);
  out.kv_heads = members.integer("num_key_value_heads") ? members.required("num_key_value_heads", 1, extent_max)
                                                        : out.heads;
  out.feed_forward_channels = members.required("intermediate_size", 1, extent_max);
  if (const auto size = members.integer("head_dim"); size && *size != out.channels / out.heads)
    throw members.unexpected("head_dim", fmt::format("hidden_size / num_attention_heads = {}",
                                                     out.channels / out.heads));
  out.norm_epsilon = positive(members, "rms_norm_eps", 1e-6);
  out.rotary_theta = read_rotary_theta(members, source);
  out.tied_head = members.flag("tie_word_embeddings").value_or(false);
  out.dropout = probability(members, "attention_dropout", 0.0);
  return out;
}

}  // namespace

huggingface_family family_of(const settings_t& settings) {
  if (settings.positions == settings_t::position_kind::rotary) {
    require(settings.norm == settings_t::norm_kind::rms_norm, "norm", "'layer_norm'",
            "'rms_norm', as in Llama, with rotary positions");
    require(settings.feed_forward == feed_forward_kind::swiglu, "feed_forward", "another kind",
            "'swiglu', as in Llama, with rotary positions");
    require(!settings.bias, "bias", "true", "false, as in Llama, with rotary positions");
    return huggingface_family::llama;
  }
  require(settings.norm == settings_t::norm_kind::layer_norm, "norm", "'rms_norm'",
          "'layer_norm', as in GPT-2, with learned positions");
  require(settings.kv_heads == 0 || settings.kv_heads == settings.heads, "kv_heads", "fewer than heads",
          "as many as heads, as in GPT-2, with learned positions");
  activation_name(settings.feed_forward);
  return huggingface_family::gpt2;
}

nlohmann::ordered_json write_huggingface_config(const settings_t& unresolved, std::int32_t end_token, dtype type) {
  const auto settings = resolved(unresolved);
  nlohmann::ordered_json out;
  if (family_of(settings) == huggingface_family::gpt2) {
    out = {{"architectures", {"GPT2LMHeadModel"}},
           {"model_type", "gpt2"},
           {"vocab_size", settings.vocabulary},
           {"n_positions", settings.context},
           {"n_embd", settings.channels},
           {"n_layer", settings.layers},
           {"n_head", settings.heads},
           {"n_inner", settings.feed_forward_channels},
           {"activation_function", activation_name(settings.feed_forward)},
           {"layer_norm_epsilon", settings.norm_epsilon},
           {"resid_pdrop", settings.dropout},
           {"embd_pdrop", settings.dropout},
           {"attn_pdrop", settings.dropout},
           {bias_key, settings.bias}};
  } else {
    out = {{"architectures", {"LlamaForCausalLM"}},
           {"model_type", "llama"},
           {"vocab_size", settings.vocabulary},
           {"max_position_embeddings", settings.context},
           {"hidden_size", settings.channels},
           {"num_hidden_layers", settings.layers},
           {"num_attention_heads", settings.heads},
           {"num_key_value_heads", settings.kv_heads},
           {"intermediate_size", settings.feed_forward_channels},
           {"hidden_act", "silu"},
           {"rms_norm_eps", settings.norm_epsilon},
           {"rope_theta", settings.rotary_theta},
           {"attention_bias", false},
           {"mlp_bias", false},
           {"attention_dropout", settings.dropout}};
  }
  out["tie_word_embeddings"] = settings.tied_head;
  out["initializer_range"] = settings.initial_deviation;
  out["torch_dtype"] = to_string(type);
  // Nothing marks a beginning; null keeps transformers from assuming tokens of its own.
  out["bos_token_id"] = nullptr;
  out["eos_token_id"] = end_token < 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(end_token);
  return out;
}

huggingface_config read_huggingface_config(const nlohmann::json& config, const std::string& source) {
  const json_members members(config, source);
  const auto type = members.text("model_type").value_or("");
  huggingface_config out;
  if (type == "gpt2") {
    out.settings = read_gpt2(members);
  } else if (type == "llama") {
    out.family = huggingface_family::llama;
    out.settings = read_llama(members, source);
  } else {
    throw members.unexpected("model_type", "\"gpt2\" or \"llama\"");
  }
  out.settings.initial_deviation = positive(members, "initializer_range", 0.02);
  try {
    out.settings = resolved(out.settings);
  } catch (const std::invalid_argument& error) {
    throw input_error(fmt::format("{}: {}", source, error.what()));
  }
  return out;
}

}  // namespace troupe
