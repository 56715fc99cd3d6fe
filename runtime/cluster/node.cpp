#include "runtime/cluster/node.hpp"

#include <csignal>
#include <utility>

#include <fmt/format.h>

#include "runtime/error.hpp"

namespace troupe {

cluster_node::cluster_node(caf::actor_system& system, std::shared_ptr<network> carrier, cluster_node_options options)
    : system_(system),
      carrier_(std::move(carrier)),
      options_(std::move(options)),
      post_(std::make_shared<remoting>(system, carrier_, options_.codecs)) {
  if (!options_.die)
    options_.die = [] { std::raise(SIGKILL); };
  if (!options_.log)
    options_.log = [](const log_line&) {};
}

void cluster_node::join(const std::string& head_endpoint, std::function<void(const dial_result&)> on_failure,
                        const std::string& own_endpoint) {
  const auto weak = weak_from_this();
  status_->searches(head_endpoint);
  if (!std::exchange(listens_, true))
    carrier_->start(events_for(weak));
  options_.offer.endpoint = own_endpoint.empty() ? carrier_->endpoint() : own_endpoint;
  introduction mine;
  mine.what = introduction::kind::join;
  mine.offer = options_.offer;
  carrier_->dial(head_endpoint, encode(mine),
                 [weak, on_failure = std::move(on_failure)](const dial_result& result) {
                   const auto me = weak.lock();
                   if (result.link == 0 || !me)
                     return on_failure(result);
                   try {
                     me->joined(result);
                   } catch (const input_error& fault) {
                     on_failure({0, fault.what(), true});
                   }
                 });
}

void cluster_node::joined(const dial_result& result) {
  const auto given = decode_welcome(result.text);
  std::vector<node_id> strangers;
  {
    const std::lock_guard lock(mutex_);
    cluster_ = given.cluster;
    for (const auto& [link, cluster] : unverified_)
      if (const auto peer = links_.find(link); peer && cluster != cluster_)
        strangers.push_back(*peer);
    unverified_.clear();
  }
  for (const auto each : strangers)
    forget(each, "it belongs to another cluster");
  carrier_->watch_peers(given.peers);
  status_->joined(given.node);
  post_->become(given.node);
  connect(head_node, result.link);
  const auto weak = weak_from_this();
  agent_hooks hooks;
  hooks.prepare = options_.prepare;
  hooks.ended = options_.on_end;
  hooks.die = options_.die;
  hooks.log = options_.log;
  hooks.status = status_;
  hooks.meet = [weak](const std::vector<peer_endpoint>& peers, std::function<void(peers_met)> done) {
    if (const auto me = weak.lock())
      me->meet(peers, std::move(done));
  };
  hooks.forget = [weak](node_id peer, const std::string& evidence) {
    if (const auto me = weak.lock())
      me->forget(peer, evidence);
  };
  const auto agent = spawn_agent(system_, post_, post_->handle({head_node, membership_name, 1}), std::move(hooks));
  {
    const std::lock_guard lock(mutex_);
    agent_ = agent;
  }
  post_->host(agent_name, 1, agent);
  if (options_.on_joined)
    options_.on_joined(given.node);
}

// -- peers --------------------------------------------------------------------------

introduction_reply cluster_node::introduced(link_id link, const std::string& text) {
  try {
    const auto who = decode_introduction(text);
    if (who.what == introduction::kind::status)
      return {true, status_->to_json(), true};
    if (who.what == introduction::kind::drain) {
      if (!who.target.empty())
        return {false, "this is a node, and knows no others by name\nhelp: ask the head, or leave out --node"};
      if (!agent())
        return {false, "this node has joined no head: stop its process"};
      drain(who.within, "it was asked to by `troupe drain`");
      return {true, encode(drain_answer{post_->self(), fmt::format("node {} is told to leave", post_->self())}), true};
    }
    if (who.what != introduction::kind::peer)
      return {false, "this is a node, not the head: join the head"};
    {
      const std::lock_guard lock(mutex_);
      if (cluster_.empty())
        unverified_[link] = who.cluster;
      else if (who.cluster != cluster_)
        return {false, "this node belongs to another cluster"};
    }
    connect(who.node, link);
    return {true, {}};
  } catch (const input_error& fault) {
    return {false, fault.what()};
  }
}

void cluster_node::connect(node_id peer, link_id link) {
  links_.add(link, peer);
  post_->connect(peer, link);
}

void cluster_node::arrived(link_id link, parcel what) {
  if (const auto from = links_.find(link))
    post_->receive(*from, std::move(what));
  else
    late();
}

void cluster_node::meet(const std::vector<peer_endpoint>& peers, std::function<void(peers_met)> done) {
  if (peers.empty())
    return done({});
  struct meeting {
    std::size_t missing = 0;
    peers_met result;
  };
  const auto state = std::make_shared<meeting>();  // touched on the network's thread only
  state->missing = peers.size();
  introduction mine;
  mine.what = introduction::kind::peer;
  mine.node = post_->self();
  {
    const std::lock_guard lock(mutex_);
    mine.cluster = cluster_;
  }
  for (const auto& peer : peers)
    carrier_->dial(peer.endpoint, encode(mine), [weak = weak_from_this(), peer, state, done](const dial_result& result) {
      const auto me = weak.lock();
      if (!me)
        return;
      if (result.link != 0)
        me->connect(peer.node, result.link);
      else
        state->result.missed.push_back({peer.node, fmt::format("cannot be reached at {}: {}", peer.endpoint, result.text)});
      if (--state->missing == 0)
        done(std::move(state->result));
    });
}

void cluster_node::forget(node_id peer, const std::string& evidence) {
  for (const auto link : links_.remove_all(peer))
    carrier_->close(link);
  post_->disconnect(peer, evidence);
}

void cluster_node::lost(link_id link, const std::string& evidence) {
  const auto peer = links_.remove(link);
  if (!peer)
    return;
  post_->disconnect(*peer, evidence);
  if (*peer == head_node)
    caf::anon_send(agent(), head_lost{evidence});
  else
    caf::anon_send(agent(), peer_silent{*peer, evidence});
}

// -- from this process --------------------------------------------------------------

caf::actor cluster_node::agent() const {
  const std::lock_guard lock(mutex_);
  return agent_;
}

void cluster_node::drain(std::chrono::milliseconds within, const std::string& reason) {
  if (const auto to = agent())
    caf::anon_send(to, drain_node{static_cast<std::uint64_t>(within.count()), reason});
}

void cluster_node::request_cut() {
  if (const auto to = agent())
    caf::anon_send(to, ask_for_cut{});
}

}  // namespace troupe
