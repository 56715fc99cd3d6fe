#pragma once

/// What processes say to each other over a fresh link, before anything else. JSON, since it comes from outside, is small
/// and rare, and is what a person sees who looks at it.

#include <string>

#include "runtime/cluster/board.hpp"
#include "runtime/transport/network.hpp"

namespace troupe {

struct introduction {
  enum class kind : std::uint8_t {
    join,    ///< to the head: `offer`
    peer,    ///< to a node: `cluster`, `node`
    status,  ///< to anybody: how are things? The answer is the status, and then the link closes
    drain,   ///< to the head, or to the node itself: `target` is to leave, `within`
  };
  kind what = kind::status;
  std::string cluster;       ///< drawn by the head when it starts: tells its nodes from those of another run
  node_id node = head_node;  ///< who introduces itself
  node_offer offer;
  std::string target;        ///< a node's number, host or endpoint; empty: who is asked
  std::chrono::milliseconds within{0};
};

/// The head's answer to whoever joins.
struct welcome {
  std::string cluster;
  node_id node = head_node;  ///< the newcomer's number
  failure_detection peers;   ///< how all are to watch each other
};

/// The answer to whoever has a node leave.
struct drain_answer {
  node_id node = head_node;
  std::string text;  ///< for people
};

std::string encode(const introduction& value);
std::string encode(const welcome& value);
std::string encode(const drain_answer& value);
/// Throw input_error that says what is wrong.
introduction decode_introduction(const std::string& text);
welcome decode_welcome(const std::string& text);
drain_answer decode_drain_answer(const std::string& text);

}  // namespace troupe
