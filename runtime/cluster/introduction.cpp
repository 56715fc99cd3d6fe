#include "runtime/cluster/introduction.hpp"

#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "runtime/cluster/node_resources_json.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

using nlohmann::json;

constexpr std::size_t text_max = 4096;

const char* name_of(introduction::kind what) {
  switch (what) {
    case introduction::kind::join: return "join";
    case introduction::kind::peer: return "peer";
    case introduction::kind::status: return "status";
    case introduction::kind::drain: return "drain";
  }
  return "";
}

[[noreturn]] void fail(const std::string& key, const std::string& expected) {
  throw input_error(fmt::format("introduction: '{}' is not {}", key, expected));
}

std::string read_text(const json& from, const char* key) {
  const auto found = from.find(key);
  if (found == from.end() || !found->is_string() || found->get_ref<const std::string&>().size() > text_max)
    fail(key, fmt::format("a text of at most {} bytes", text_max));
  return found->get<std::string>();
}

double read_number(const json& from, const char* key, double least, double most) {
  const auto found = from.find(key);
  if (found == from.end() || !found->is_number())
    fail(key, "a number");
  const auto value = found->get<double>();
  if (!(value >= least && value <= most))
    fail(key, fmt::format("between {} and {}", least, most));
  return value;
}

json parse(const std::string& text) {
  auto value = json::parse(text, nullptr, false);
  if (!value.is_object())
    throw input_error("introduction: not a JSON object");
  return value;
}

constexpr double node_max = 1'000'000;

node_id read_node(const json& from) { return static_cast<node_id>(read_number(from, "node", 1, node_max)); }

}  // namespace

std::string encode(const introduction& value) {
  json out{{"kind", name_of(value.what)}};
  if (value.what == introduction::kind::peer) {
    out["cluster"] = value.cluster;
    out["node"] = value.node;
  }
  if (value.what == introduction::kind::join)
    out["offer"] = {{"endpoint", value.offer.endpoint},
                    {"speed", value.offer.speed},
                    {"resources", to_json(value.offer.resources)}};
  if (value.what == introduction::kind::drain) {
    out["target"] = value.target;
    out["within_ms"] = value.within.count();
  }
  return out.dump();
}

std::string encode(const welcome& value) {
  return json{{"cluster", value.cluster},
              {"node", value.node},
              {"heartbeat_ms", value.peers.heartbeat.count()},
              {"phi", value.peers.phi},
              {"silence_max_ms", value.peers.silence_max.count()}}
      .dump();
}

std::string encode(const drain_answer& value) { return json{{"node", value.node}, {"text", value.text}}.dump(); }

introduction decode_introduction(const std::string& text) {
  const auto in = parse(text);
  const auto kind = read_text(in, "kind");
  introduction value;
  for (const auto what : {introduction::kind::join, introduction::kind::peer, introduction::kind::status,
                          introduction::kind::drain}) {
    if (kind != name_of(what))
      continue;
    value.what = what;
    if (what == introduction::kind::peer) {
      value.cluster = read_text(in, "cluster");
      value.node = read_node(in);
    }
    if (what == introduction::kind::join) {
      const auto offer = in.find("offer");
      if (offer == in.end() || !offer->is_object() || !offer->contains("resources"))
        fail("offer", "an object with 'resources'");
      value.offer.endpoint = read_text(*offer, "endpoint");
      value.offer.speed = read_number(*offer, "speed", 1e-9, 1e18);
      value.offer.resources = node_resources_from_json((*offer)["resources"]);
    }
    if (what == introduction::kind::drain) {
      value.target = read_text(in, "target");
      value.within = std::chrono::milliseconds{static_cast<std::int64_t>(read_number(in, "within_ms", 0, 1e10))};
    }
    return value;
  }
  fail("kind", "'join', 'peer', 'status' or 'drain'");
}

welcome decode_welcome(const std::string& text) {
  const auto in = parse(text);
  const auto read_time = [&](const char* key) {
    return std::chrono::milliseconds{static_cast<std::int64_t>(read_number(in, key, 1, 1e12))};
  };
  return {read_text(in, "cluster"), read_node(in),
          {read_time("heartbeat_ms"), read_number(in, "phi", 0, 1e6), read_time("silence_max_ms")}};
}

drain_answer decode_drain_answer(const std::string& text) {
  const auto in = parse(text);
  return {read_node(in), read_text(in, "text")};
}

}  // namespace troupe
