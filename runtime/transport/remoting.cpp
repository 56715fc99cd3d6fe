#include "runtime/transport/remoting.hpp"

#include <stdexcept>

#include <caf/actor_proxy.hpp>
#include <caf/detail/sync_request_bouncer.hpp>
#include <fmt/format.h>

#include "runtime/probe.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe {

namespace {

// What remoting says to remoting; names that no codec may take.
constexpr const char* ended_type = "remoting.ended";  ///< its sender has ended
constexpr const char* exit_type = "remoting.exit";    ///< an exit message

struct carried_error {
  std::uint8_t code = 0;
  std::uint64_t category = 0;
  std::string text;
};

const address_finder no_address = [](const caf::actor&) { return actor_address{}; };
const handle_finder no_handle = [](const actor_address&) { return caf::actor{}; };

void write_error(parcel& out, const caf::error& reason) {
  carried_error carried;
  if (reason)
    carried = {reason.code(), static_cast<std::uint64_t>(reason.category()), root_cause(reason)};
  message_writer(out, no_address).write(carried);
}

caf::error read_error(const parcel& in) {
  carried_error carried;
  message_reader reader(in, no_handle);
  reader.read(carried);
  reader.expect_end();
  if (carried.code == 0)
    return {};
  return {carried.code, static_cast<caf::atom_value>(carried.category), caf::make_message(std::move(carried.text))};
}

}  // namespace

/// Stands for an actor of another node. It has no thread and no mailbox: what is sent to it leaves in the sender's.
class remote_actor final : public caf::actor_proxy {
 public:
  remote_actor(caf::actor_config& config, actor_address where, std::weak_ptr<remoting> by)
      : caf::actor_proxy(config), where_(std::move(where)), by_(std::move(by)) {}

  void enqueue(caf::mailbox_element_ptr what, caf::execution_unit*) override {
    if (what->mid.is_request()) {
      caf::detail::sync_request_bouncer{make_error(errc::timed_out, "requests do not travel between nodes")}(
          what->sender, what->mid);
      return;
    }
    if (const auto by = by_.lock())
      by->send(where_, std::move(what));
  }

  void kill_proxy(caf::execution_unit* context, caf::error reason) override { cleanup(std::move(reason), context); }

 private:
  actor_address where_;
  std::weak_ptr<remoting> by_;
};

namespace {

void end_proxy(const caf::actor& proxy, caf::error reason) {
  static_cast<caf::actor_proxy*>(caf::actor_cast<caf::abstract_actor*>(proxy))->kill_proxy(nullptr, std::move(reason));
}

}  // namespace

remoting::remoting(caf::actor_system& system, std::shared_ptr<network> carrier, message_codecs codecs)
    : system_(system),
      carrier_(std::move(carrier)),
      codecs_(std::move(codecs)),
      address_of_([this](const caf::actor& who) { return address_of(who); }),
      handle_of_([this](const actor_address& where) { return handle(where); }) {}

remoting::~remoting() = default;

void remoting::become(node_id self) {
  const std::lock_guard lock(mutex_);
  self_ = self;
}

node_id remoting::self() const {
  const std::lock_guard lock(mutex_);
  return self_;
}

// -- who lives here -----------------------------------------------------------------

void remoting::host(const std::string& name, std::uint64_t incarnation, const caf::actor& who) {
  actor_address here;
  caf::actor predecessor;
  {
    const std::lock_guard lock(mutex_);
    here = {self_, name, incarnation};
    auto& entry = local_[name];
    if (entry.incarnation > incarnation)
      return troupe::send_exit(who, caf::exit_reason::kill);  // its supervisor is about to end, and its successor is here
    predecessor = entry.handle;
    entry = {incarnation, who};
    addresses_[who->id()] = here;
    // Nobody will ever be what these were kept for.
    const auto older = early_.lower_bound({self_, name, 0});
    for (auto each = older; each != early_.end() && each->first < here;) {
      counters_.stale_dropped += each->second.size();
      early_count_ -= each->second.size();
      each = early_.erase(each);
    }
    early_[here];  // what comes now waits behind what came early
  }
  troupe::send_exit(predecessor, caf::exit_reason::kill);  // what its supervisor has to say to it comes too late
  who->attach_functor([weak = weak_from_this(), here](const caf::error& reason) {
    if (const auto me = weak.lock())
      me->local_ended(here.name, here.incarnation, reason);
  });
  for (;;) {
    std::vector<parcel> waiting;
    {
      const std::lock_guard lock(mutex_);
      const auto found = early_.find(here);
      if (found == early_.end())
        return;
      if (found->second.empty()) {
        early_.erase(found);
        return;
      }
      waiting.swap(found->second);
      early_count_ -= waiting.size();
    }
    probe("remoting: a parcel came before its receiver");
    for (const auto& each : waiting)
      deliver(who, each);
  }
}

void remoting::local_ended(const std::string& name, std::uint64_t incarnation, const caf::error& reason) {
  std::vector<node_id> nodes;
  actor_address here;
  {
    const std::lock_guard lock(mutex_);
    here = {self_, name, incarnation};
    auto& entry = local_[name];
    if (entry.incarnation == incarnation)
      entry.handle = {};
    std::erase_if(addresses_, [&](const auto& each) { return each.second == here; });
    for (const auto& [node, link] : links_)
      nodes.push_back(node);
  }
  remote_ended(here, reason);  // handles from before it was spawned
  for (const auto node : nodes) {
    parcel notice;
    notice.from = here;
    notice.to.node = node;
    notice.type = ended_type;
    write_error(notice, reason);
    dispatch(node, std::move(notice));
  }
}

void remoting::refuse(const std::string& name, std::uint64_t incarnation, const caf::error& reason) {
  {
    const std::lock_guard lock(mutex_);
    auto& entry = local_[name];
    if (entry.incarnation < incarnation)
      entry = {incarnation, {}};
    if (const auto early = early_.find({self_, name, incarnation}); early != early_.end()) {
      counters_.stale_dropped += early->second.size();
      early_count_ -= early->second.size();
      early_.erase(early);
    }
  }
  local_ended(name, incarnation, reason);
}

// -- who lives elsewhere ------------------------------------------------------------

caf::actor remoting::handle(const actor_address& where) {
  if (!where)
    return {};
  caf::actor fresh;
  {
    const std::lock_guard lock(mutex_);
    if (where.node == self_)
      if (const auto found = local_.find(where.name); found != local_.end() && found->second.incarnation >= where.incarnation)
        return found->second.incarnation == where.incarnation ? found->second.handle : caf::actor{};
    if (const auto found = remote_.find(where); found != remote_.end())
      return found->second;
    caf::actor_config config;
    fresh = caf::make_actor<remote_actor, caf::actor>(system_.next_actor_id(), system_.node(), &system_, config, where,
                                                      weak_from_this());
    if (where.node == self_ || links_.count(where.node) > 0) {
      addresses_[fresh->id()] = where;
      remote_.emplace(where, fresh);
      return fresh;
    }
  }
  end_proxy(fresh, make_error(errc::node_lost, fmt::format("node {} is not connected", where.node)));
  return fresh;
}

actor_address remoting::address_of(const caf::actor& who) {
  if (!who)
    return {};
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = addresses_.find(who->id()); found != addresses_.end())
      return found->second;
  }
  host(fmt::format("actor/{}", who->id()), 1, who);
  const std::lock_guard lock(mutex_);
  const auto found = addresses_.find(who->id());
  return found == addresses_.end() ? actor_address{} : found->second;  // it has ended
}

void remoting::remote_ended(const actor_address& who, const caf::error& reason) {
  caf::actor proxy;
  {
    const std::lock_guard lock(mutex_);
    const auto found = remote_.find(who);
    if (found == remote_.end())
      return;
    proxy = found->second;
    addresses_.erase(proxy->id());
    remote_.erase(found);
  }
  end_proxy(proxy, reason);
}

// -- other nodes --------------------------------------------------------------------

void remoting::connect(node_id node, link_id link) {
  const std::lock_guard lock(mutex_);
  links_[node] = link;
}

std::vector<node_id> remoting::connected() const {
  const std::lock_guard lock(mutex_);
  std::vector<node_id> nodes;
  for (const auto& [node, link] : links_)
    nodes.push_back(node);
  return nodes;
}

void remoting::disconnect(node_id node, const std::string& evidence) {
  device_links_->disconnect(node);
  std::vector<caf::actor> lost;
  {
    const std::lock_guard lock(mutex_);
    links_.erase(node);
    std::erase_if(remote_, [&](const auto& each) {
      if (each.first.node != node)
        return false;
      addresses_.erase(each.second->id());
      lost.push_back(each.second);
      return true;
    });
  }
  for (const auto& each : lost)
    end_proxy(each, make_error(errc::node_lost, fmt::format("node {}: {}", node, evidence)));
}

// -- parcels ------------------------------------------------------------------------

void remoting::send(const actor_address& to, caf::mailbox_element_ptr what) {
  caf::actor here;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = local_.find(to.name);
        to.node == self_ && found != local_.end() && found->second.incarnation == to.incarnation && early_.count(to) == 0)
      here = found->second.handle;
  }
  if (here)
    return caf::actor_cast<caf::abstract_actor*>(here)->enqueue(std::move(what), nullptr);
  const auto& content = what->content();
  if (content.match_elements<caf::exit_msg>())
    return send_exit(to, static_cast<const caf::exit_msg*>(content.get(0))->reason);
  const auto* type = content.size() == 1 ? content.type(0).second : nullptr;
  const auto* codec = type ? codecs_.find(*type) : nullptr;
  if (!codec)
    throw std::logic_error(fmt::format("{}: sent a message that has no codec: {}", to.name, content.stringify()));
  parcel out;
  out.to = to;
  if (what->sender)
    out.from = address_of(caf::actor_cast<caf::actor>(what->sender));
  out.type = codec->name;
  message_writer writer(out, address_of_);
  codec->write(content.get(0), writer);
  if (device_links_->send(to.node, out, [&](parcel rest) { dispatch(to.node, std::move(rest)); }))
    return;
  out.tensors = on_host(out.tensors);
  dispatch(to.node, std::move(out));
}

void remoting::send_exit(const actor_address& to, const caf::error& reason) {
  parcel out;
  out.to = to;
  out.type = exit_type;
  write_error(out, reason);
  dispatch(to.node, std::move(out));
}

void remoting::dispatch(node_id to, parcel what) {
  link_id link = 0;
  {
    std::unique_lock lock(mutex_);
    if (to == self_) {
      lock.unlock();
      return accept(to, what);
    }
    const auto found = links_.find(to);
    if (found == links_.end())
      return;  // who sends to a lost node has been told, or will be
    link = found->second;
    ++counters_.sent;
    counters_.tensor_bytes_sent += what.tensor_bytes();
  }
  carrier_->send(link, std::move(what));
}

void remoting::receive(node_id from, parcel what) {
  if (what.to.name == link_keeper_name || !device_links_->take(from, what))
    accept(from, what);
}

void remoting::accept(node_id from, const parcel& what) {
  if (what.type == ended_type) {
    if (what.from.node != from)
      return drop(&remoting_counters::bad_dropped);
    try {
      return remote_ended(what.from, read_error(what));
    } catch (const input_error&) {
      return drop(&remoting_counters::bad_dropped);
    }
  }
  caf::actor to;
  {
    const std::lock_guard lock(mutex_);
    ++counters_.received;
    if (what.to.node != self_) {
      ++counters_.stale_dropped;  // to whoever this process was before it joined anew
      return;
    }
    const auto waiting = early_.find(what.to);
    const auto found = local_.find(what.to.name);
    const auto known = found == local_.end() ? 0 : found->second.incarnation;
    if (what.to.incarnation > known || waiting != early_.end()) {
      if (early_count_ == early_max) {
        ++counters_.early_dropped;
        return;
      }
      early_[what.to].push_back(what);
      ++early_count_;
      return;
    }
    if (what.to.incarnation < known || !found->second.handle) {
      probe("remoting: a parcel to somebody who has ended was dropped");
      ++counters_.stale_dropped;
      return;
    }
    to = found->second.handle;
  }
  deliver(to, what);
}

void remoting::drop_fenced() {
  probe("remoting: a parcel from a node that is no member any more was dropped");
  drop(&remoting_counters::fenced_dropped);
}

void remoting::deliver(const caf::actor& to, const parcel& what) {
  try {
    if (what.type == exit_type)
      return troupe::send_exit(to, read_error(what));
    const auto* codec = codecs_.find(what.type);
    if (!codec)
      throw input_error(fmt::format("parcel '{}': no such type of message", what.type));
    message_reader reader(what, handle_of_);
    codec->deliver(reader, to, caf::actor_cast<caf::strong_actor_ptr>(handle(what.from)));
  } catch (const input_error&) {
    drop(&remoting_counters::bad_dropped);
  }
}

void remoting::drop(std::uint64_t remoting_counters::*counter) {
  const std::lock_guard lock(mutex_);
  ++(counters_.*counter);
}

remoting_counters remoting::counters() const {
  const std::lock_guard lock(mutex_);
  auto all = counters_;
  all.device_link_bytes_sent = device_links_->sent_bytes();
  return all;
}

}  // namespace troupe
