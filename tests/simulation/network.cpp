#include "tests/simulation/network.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace troupe {

namespace {

/// To the courier.
struct errand {
  std::function<void()> run;
};

}  // namespace

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::errand)

namespace troupe {

class simulated_wire::port final : public network {
 public:
  port(simulated_wire& wire, std::string endpoint) : wire_(wire), endpoint_(std::move(endpoint)) {}

  void start(network_events events) override { events_ = std::move(events); }
  std::string endpoint() const override { return endpoint_; }
  void dial(const std::string& endpoint, std::string introduction, std::function<void(dial_result)> done) override;
  void send(link_id link, parcel message) override;
  void watch_peers(const failure_detection&) override {}
  void close(link_id link) override;

  simulated_wire& wire_;
  std::string endpoint_;
  network_events events_;
  std::map<std::string, std::uint64_t> sent_;  // by type
  bool dead_ = false;  // and the wire may be gone: actors that end after it still hold their port
};

void simulated_wire::port::dial(const std::string& endpoint, std::string introduction,
                                std::function<void(dial_result)> done) {
  if (dead_)
    return;
  auto* const other = wire_.by_endpoint_.at(endpoint);
  wire_.later(wire_.draw(wire_.options_.delay_max), [this, other, introduction = std::move(introduction), done = std::move(done)] {
    if (dead_)
      return;
    if (other->dead_ || wire_.separated(*this, *other))
      return done({0, fmt::format("{}: no answer", other->endpoint_)});
    const auto here = wire_.next_link_++, there = wire_.next_link_++;
    wire_.links_[here] = {this, other, there, {}, false};
    wire_.links_[there] = {other, this, here, {}};
    const auto reply = other->events_.on_introduction(there, introduction);
    if (!reply.accepted || reply.close_after) {
      wire_.links_.erase(here);
      wire_.links_.erase(there);
      return done({0, reply.text, !reply.accepted});
    }
    wire_.later(wire_.draw(wire_.options_.delay_max), [this, here, text = reply.text, done] {
      if (dead_)
        return;
      auto* const end = wire_.find(here);
      if (!end || end->lost || wire_.separated(*this, *end->there)) {
        wire_.links_.erase(here);
        return done({0, "lost while dialling"});
      }
      end->known = true;
      done({here, text});
      for (auto early = end->under_way.size(); early > 0; --early)
        wire_.arrive(here);
    });
  });
}

void simulated_wire::port::send(link_id link, parcel message) {
  if (dead_)
    return;
  ++sent_[message.type];
  auto* const end = wire_.find(link);
  if (!end || end->lost)
    return;
  auto* const other = wire_.find(end->id_there);
  if (!other || other->lost)
    return;
  other->under_way.push_back(std::move(message));
  const auto there = end->id_there;
  wire_.later(wire_.draw(wire_.options_.delay_max), [this, there] { wire_.arrive(there); });
}

void simulated_wire::port::close(link_id link) {
  if (dead_)
    return;
  if (wire_.sim_.chance(0.5))
    wire_.arrive(link);  // what was being received meanwhile is told still
  auto* const end = wire_.find(link);
  if (!end)
    return;
  wire_.see_end(end->id_there, "the other side closed the connection", wire_.options_.delay_max);
  wire_.links_.erase(link);
}

simulated_wire::simulated_wire(simulator& sim, simulated_wire_options options)
    : sim_(sim), options_(options), courier_(sim.system().spawn([](caf::event_based_actor*) -> caf::behavior {
        return {[](const errand& what) { what.run(); }};
      })) {}

simulated_wire::~simulated_wire() {
  for (const auto& each : ports_)
    each->dead_ = true;
  send_exit(courier_, caf::exit_reason::kill);
}

std::shared_ptr<network> simulated_wire::make_network() {
  ports_.push_back(std::make_shared<port>(*this, fmt::format("sim:{}", ports_.size())));
  by_endpoint_[ports_.back()->endpoint_] = ports_.back().get();
  return ports_.back();
}

void simulated_wire::later(std::chrono::milliseconds delay, std::function<void()> what) {
  caf::delayed_anon_send(courier_, delay, errand{std::move(what)});
}

std::chrono::milliseconds simulated_wire::draw(std::chrono::milliseconds most) {
  return std::chrono::milliseconds{sim_.draw(static_cast<std::uint64_t>(most.count()) + 1)};
}

bool simulated_wire::link_end::joins(const network& a, const network& b) const {
  return (here == &a && there == &b) || (here == &b && there == &a);
}

std::uint64_t simulated_wire::separated(const port& a, const port& b) const {
  const auto found = separated_.find(std::minmax(&a, &b));
  return found == separated_.end() ? 0 : found->second;
}

simulated_wire::link_end* simulated_wire::find(link_id id) {
  const auto found = links_.find(id);
  return found == links_.end() ? nullptr : &found->second;
}

/// The oldest parcel under way arrives, whichever timer has run out: the order of a link is kept.
void simulated_wire::arrive(link_id at) {
  auto* const end = find(at);
  if (!end || !end->known || end->here->dead_ || end->under_way.empty() || separated(*end->here, *end->there))
    return;
  auto message = std::move(end->under_way.front());
  end->under_way.pop_front();
  end->here->events_.on_parcel(at, std::move(message));
}

void simulated_wire::see_end(link_id at, const std::string& evidence, std::chrono::milliseconds after) {
  if (const auto* const end = find(at); end && !separated(*end->here, *end->there))
    lose(at, evidence, after);
}

void simulated_wire::lose(link_id at, const std::string& evidence, std::chrono::milliseconds after) {
  auto* const end = find(at);
  if (!end || end->lost)
    return;
  end->lost = true;
  later(after, [this, at, evidence] { tell_lost(at, evidence); });
}

void simulated_wire::tell_lost(link_id at, const std::string& evidence) {
  const auto gone = links_.extract(at);
  if (gone && gone.mapped().known && !gone.mapped().here->dead_)
    gone.mapped().here->events_.on_lost(at, evidence);
}

void simulated_wire::kill(network& which) {
  auto& victim = static_cast<port&>(which);
  victim.dead_ = true;
  for (auto& [id, end] : links_)
    if (end.there == &victim)
      see_end(id, "the connection was closed by the other side", options_.closed_after);
}

bool simulated_wire::break_links(network& a, network& b) {
  bool any = false;
  for (auto& [id, end] : links_)
    if (end.joins(a, b)) {
      any = true;
      lose(id, "the connection was reset", options_.closed_after);
    }
  return any;
}

bool simulated_wire::half_break_links(network& here, network& there) {
  bool any = false;
  for (auto& [id, end] : links_)
    if (end.joins(here, there)) {
      any = true;
      if (end.here == &here)
        lose(id, "the connection was reset", options_.closed_after);
      else
        lose(id, "no sign of life", draw(options_.silent_max));
    }
  return any;
}

bool simulated_wire::partition(network& a, network& b) {
  const auto [which, is_new] =
      separated_.emplace(std::minmax<const port*>(static_cast<port*>(&a), static_cast<port*>(&b)), partitions_made_ + 1);
  if (!is_new)
    return false;
  ++partitions_made_;
  bool any = false;
  for (auto& [id, end] : links_)
    if (end.joins(a, b)) {
      any = true;
      later(draw(options_.silent_max), [this, at = id, made = partitions_made_] {
        const auto* const silent = find(at);
        if (!silent || separated(*silent->here, *silent->there) != made)
          return;
        ++partitions_.noticed;
        tell_lost(at, "no sign of life");
      });
    }
  return any;
}

/// What could not pass does now; who has been given up meanwhile finds that out.
void simulated_wire::heal() {
  for (auto& [id, end] : links_) {
    if (!separated(*end.here, *end.there))
      continue;
    const bool whole = find(end.id_there) && !end.there->dead_;
    ++(whole ? partitions_.outlived : partitions_.half_seen);
    if (!whole)
      lose(id, "the connection was reset", options_.closed_after);
    for (auto waiting = whole ? end.under_way.size() : 0; waiting > 0; --waiting)
      later(draw(options_.delay_max), [this, at = id] { arrive(at); });
  }
  separated_.clear();
}

std::uint64_t simulated_wire::sent(const network& by, const std::string& type) const {
  const auto& counts = static_cast<const port&>(by).sent_;
  const auto found = counts.find(type);
  return found == counts.end() ? 0 : found->second;
}

}  // namespace troupe
