#pragma once

/// The words of run files for the choices that settings offer.

#include "actors/job_settings.hpp"
#include "cli/run_file.hpp"
#include "runtime/config/codec.hpp"

namespace troupe::config {

template <>
struct enum_names<model_kind> {
  static constexpr std::pair<model_kind, std::string_view> all[] = {{model_kind::gpt2, "gpt2"},
                                                                    {model_kind::llama, "llama"}};
};

template <>
struct enum_names<transformer_settings::position_kind> {
  using e = transformer_settings::position_kind;
  static constexpr std::pair<e, std::string_view> all[] = {{e::learned, "learned"}, {e::rotary, "rotary"}};
};

template <>
struct enum_names<transformer_settings::norm_kind> {
  using e = transformer_settings::norm_kind;
  static constexpr std::pair<e, std::string_view> all[] = {{e::layer_norm, "layer_norm"}, {e::rms_norm, "rms_norm"}};
};

template <>
struct enum_names<transformer_settings::feed_forward_kind> {
  using e = transformer_settings::feed_forward_kind;
  static constexpr std::pair<e, std::string_view> all[] = {
    {e::gelu, "gelu"}, {e::gelu_tanh, "gelu_tanh"}, {e::relu, "relu"}, {e::silu, "silu"}, {e::swiglu, "swiglu"}};
};

template <>
struct enum_names<data_settings::source_kind> {
  using e = data_settings::source_kind;
  static constexpr std::pair<e, std::string_view> all[] = {{e::automatic, "automatic"},
                                                           {e::text, "text"},
                                                           {e::folder, "folder"},
                                                           {e::json_lines, "json_lines"},
                                                           {e::token_shards, "token_shards"}};
};

template <>
struct enum_names<data_settings::order_kind> {
  using e = data_settings::order_kind;
  static constexpr std::pair<e, std::string_view> all[] = {{e::without_replacement, "without_replacement"},
                                                           {e::with_replacement, "with_replacement"}};
};

template <>
struct enum_names<tokenizer_settings::kind> {
  using e = tokenizer_settings::kind;
  static constexpr std::pair<e, std::string_view> all[] = {
    {e::bytes, "bytes"}, {e::characters, "characters"}, {e::sentencepiece, "sentencepiece"}, {e::byte_pairs, "byte_pairs"}};
};

template <>
struct enum_names<divergence_response> {
  using e = divergence_response;
  static constexpr std::pair<e, std::string_view> all[] = {{e::stop, "stop"}, {e::warn, "warn"}};
};

template <>
struct enum_names<optimizer_settings::kind> {
  using e = optimizer_settings::kind;
  static constexpr std::pair<e, std::string_view> all[] = {
    {e::adamw, "adamw"}, {e::sgd, "sgd"}, {e::lion, "lion"}, {e::muon, "muon"}};
};

template <>
struct enum_names<schedule_settings::kind> {
  using e = schedule_settings::kind;
  static constexpr std::pair<e, std::string_view> all[] = {{e::constant, "constant"},
                                                           {e::cosine, "cosine"},
                                                           {e::linear, "linear"},
                                                           {e::warmup_stable_decay, "warmup_stable_decay"}};
};

template <>
struct enum_names<consistency_mode> {
  using e = consistency_mode;
  static constexpr std::pair<e, std::string_view> all[] = {
    {e::sync, "sync"}, {e::bounded, "bounded"}, {e::async, "async"}};
};

template <>
struct enum_names<consistency_settings::compensation_kind> {
  using e = consistency_settings::compensation_kind;
  static constexpr std::pair<e, std::string_view> all[] = {
    {e::none, "none"}, {e::constant, "constant"}, {e::adaptive, "adaptive"}};
};

template <>
struct enum_names<optimizer_settings::state_kind> {
  using e = optimizer_settings::state_kind;
  static constexpr std::pair<e, std::string_view> all[] = {{e::float32, "float32"}, {e::bfloat16, "bfloat16"}};
};

template <>
struct enum_names<precision_kind> {
  using e = precision_kind;
  static constexpr std::pair<e, std::string_view> all[] = {
    {e::automatic, "automatic"}, {e::float32, "float32"}, {e::tf32, "tf32"}, {e::bfloat16, "bfloat16"}};
};

template <>
struct enum_names<gpu_link_kind> {
  using e = gpu_link_kind;
  static constexpr std::pair<e, std::string_view> all[] = {{e::nccl, "nccl"}, {e::off, "off"}};
};

template <>
struct enum_names<chaos_settings::fault> {
  using e = chaos_settings::fault;
  static constexpr std::pair<e, std::string_view> all[] = {
    {e::exit, "exit"}, {e::exception, "exception"}, {e::wedge, "wedge"}};
};

}  // namespace troupe::config
