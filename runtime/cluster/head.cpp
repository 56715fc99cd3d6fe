#include "runtime/cluster/head.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "runtime/cluster/node_resources_json.hpp"
#include "runtime/error.hpp"
#include "runtime/probe.hpp"
#include "runtime/system.hpp"

namespace troupe {

namespace {

/// Of the nodes that are gone a status tells the last ones: in days on a spot market there are thousands.
constexpr std::size_t gone_told_max = 100;

}  // namespace

cluster_head::cluster_head(caf::actor_system& system, std::shared_ptr<network> carrier, cluster_head_options options)
    : system_(system),
      carrier_(std::move(carrier)),
      options_(std::move(options)),
      post_(std::make_shared<remoting>(system, carrier_, options_.codecs)),
      board_(std::make_shared<cluster_board>(options_.demands)) {}

void cluster_head::start(const directory_actor& names) {
  const auto weak = weak_from_this();
  membership_hooks hooks;
  hooks.tell = options_.tell;
  hooks.expel = [weak](node_id node, const std::string& evidence) {
    if (const auto me = weak.lock())
      me->expel(node, evidence);
  };
  membership_ = spawn_membership(system_, post_, board_, options_.terms, names, std::move(hooks));
  post_->host(membership_name, 1, membership_);
  carrier_->watch_peers(options_.peers);
  carrier_->start(events_for(weak));
}

void cluster_head::arrived(link_id link, parcel what) {
  if (const auto from = links_.find(link))
    post_->receive(*from, std::move(what));
  else
    late();
}

std::string cluster_head::describe() const {
  auto nodes = nlohmann::json::array();
  auto gone = board_->count(node_state::gone);
  for (const auto& node : board_->nodes()) {
    if (node.state == node_state::gone && gone-- > gone_told_max)
      continue;
    nodes.push_back({{"node", node.id},
                     {"state", to_string(node.state)},
                     {"endpoint", node.offer.endpoint},
                     {"resources", to_json(node.offer.resources)},
                     {"arithmetic", node.arithmetic},
                     {"evidence", node.evidence}});
  }
  const auto traffic = post_->counters();
  return nlohmann::json{{"nodes", std::move(nodes)},
                        {"unplaced", board_->unplaced()},
                        {"messages",
                         {{"sent", traffic.sent},
                          {"received", traffic.received},
                          {"stale_dropped", traffic.stale_dropped},
                          {"bad_dropped", traffic.bad_dropped},
                          {"early_dropped", traffic.early_dropped},
                          {"fenced_dropped", traffic.fenced_dropped}}},
                        {"job", nlohmann::json::parse(options_.status())}}
      .dump();
}

introduction_reply cluster_head::introduced(link_id link, const std::string& text) {
  try {
    auto who = decode_introduction(text);
    switch (who.what) {
      case introduction::kind::status:
        return {true, describe(), true};
      case introduction::kind::drain:
        return drain(who);
      case introduction::kind::peer:
        return {false, "this is the head: nodes join it"};
      case introduction::kind::join:
        break;
    }
    const auto node = board_->add(std::move(who.offer));
    links_.add(link, node);
    post_->connect(node, link);
    caf::anon_send(membership_, node_arrived{node});
    return {true, encode(welcome{options_.cluster, node, options_.peers})};
  } catch (const input_error& fault) {
    return {false, fault.what()};
  }
}

introduction_reply cluster_head::drain(const introduction& wish) {
  std::vector<node_record> meant;
  std::vector<std::string> there;
  for (const auto& node : board_->nodes()) {
    if (node.state == node_state::gone)
      continue;
    there.push_back(fmt::format("{} ({}, {})", node.id, node.offer.resources.host, node.offer.endpoint));
    if (wish.target == std::to_string(node.id) || wish.target == node.offer.resources.host ||
        wish.target == node.offer.endpoint)
      meant.push_back(node);
  }
  const auto all = there.empty() ? std::string{"none"} : fmt::format("{}", fmt::join(there, ", "));
  if (wish.target.empty())
    return {false, fmt::format("this is the head: which node is to leave?\nhelp: --node NUMBER, HOST or HOST:PORT; nodes "
                               "that are there: {}", all)};
  if (meant.size() != 1)
    return {false, fmt::format("'{}' is {} node{}\nhelp: nodes that are there: {}", wish.target,
                               meant.empty() ? "no" : "more than one", meant.empty() ? "" : "; name it by its number", all)};
  const auto& node = meant.front();
  if (node.state == node_state::leaving)
    return {true, encode(drain_answer{node.id, fmt::format("node {} leaves already", node.id)}), true};
  caf::anon_send(post_->handle({node.id, agent_name, 1}),
                 drain_node{static_cast<std::uint64_t>(wish.within.count()), "it was asked to by `troupe drain`"});
  return {true, encode(drain_answer{node.id, fmt::format("node {} ({}) is told to leave", node.id, node.offer.resources.host)}),
          true};
}

/// First the board, so that nobody is placed there any more; then the handles, whose ends make supervisors act.
void cluster_head::lost(link_id link, const std::string& evidence) {
  const auto node = links_.remove(link);
  if (!node)
    return;
  const auto known = *board_->find(*node);
  const auto why = known.released                       ? let_go_evidence
                   : known.state == node_state::leaving ? evidence + "; it had not been drained yet"
                                                        : evidence;
  if (!board_->remove(*node, why))
    return;
  if (known.state == node_state::leaving && !known.released)
    probe("head: a node was lost in the middle of its drain");
  post_->disconnect(*node, why);
  caf::anon_send(membership_, node_departed{*node, why, known.released});
}

void cluster_head::expel(node_id node, const std::string& evidence) {
  if (!board_->remove(node, evidence))
    return;
  for (const auto link : links_.remove_all(node))
    carrier_->close(link);
  post_->disconnect(node, evidence);
}

caf::actor cluster_head::spawn_on(node_id node, const spawn_actor& what) {
  if (node == no_node)
    return {};
  caf::anon_send(post_->handle({node, agent_name, 1}), what);
  return post_->handle({node, what.name, what.incarnation});
}

}  // namespace troupe
