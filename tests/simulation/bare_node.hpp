#pragma once

/// A node with nothing but remoting, for tests of what travels between nodes.

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "runtime/transport/remoting.hpp"
#include "tests/simulation/network.hpp"
#include "tests/simulation/simulator.hpp"

namespace troupe {

/// Every other node that dials is connected under its number.
struct bare_node {
  bare_node(simulator& sim, simulated_wire& wire, node_id id, message_codecs codecs)
      : net(wire.make_network()), post(std::make_shared<remoting>(sim.system(), net, std::move(codecs))) {
    post->become(id);
    net->start({[this](link_id link, const std::string& introduction) {
                  connect(static_cast<node_id>(std::stoul(introduction)), link);
                  return introduction_reply{true, std::to_string(post->self())};
                },
                [this](link_id link, parcel what) {
                  if (peers.count(link) > 0)
                    post->receive(peers.at(link), std::move(what));
                },
                [this](link_id link, const std::string& evidence) { forget(link, evidence); }});
  }

  void dial(const bare_node& other) {
    net->dial(other.net->endpoint(), std::to_string(post->self()), [this](const dial_result& result) {
      if (result.link != 0)
        connect(static_cast<node_id>(std::stoul(result.text)), result.link);
    });
  }
  void connect(node_id peer, link_id link) {
    peers[link] = peer;
    post->connect(peer, link);
  }
  void forget(link_id link, const std::string& evidence) {
    if (const auto gone = peers.extract(link))
      post->disconnect(gone.mapped(), evidence);
  }

  std::shared_ptr<network> net;
  std::shared_ptr<remoting> post;
  std::map<link_id, node_id> peers;
};

}  // namespace troupe
