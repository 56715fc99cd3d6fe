#include "runtime/transport/device_links.hpp"

#include <algorithm>
#include <deque>
#include <utility>

#include "runtime/probe.hpp"
#include "runtime/system.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe {

namespace {

/// To an unpacker, from the network and from itself.
struct parcel_came {
  std::shared_ptr<parcel> what;
};
struct next_is_due {};

using unpacking_actor = caf::typed_actor<caf::reacts_to<parcel_came>, caf::reacts_to<next_is_due>>;

}  // namespace

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::parcel_came)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::next_is_due)

namespace troupe {

/// Waits for tensors of one link, on a thread of its own. Memory for all that came is given to the channel before it waits
/// for the first, so that transfers follow each other without a gap.
class unpacking {
 public:
  unpacking(unpacking_actor::pointer self, std::shared_ptr<device_links> links, node_id from, std::uint64_t number,
            std::shared_ptr<device_channel> by)
      : self_(self), links_(std::move(links)), from_(from), number_(number), by_(std::move(by)) {}

  void on(const parcel_came& message) {
    if (broken_)
      return;
    waiting next{message.what, {}};
    if (!message.what->beside.empty()) {
      std::vector<tensor_form> forms;
      for (const auto& each : message.what->beside)
        forms.push_back(each.form);
      if (!try_to([&] { next.tensors = by_->receive(forms); }))
        return;
    }
    waiting_.push_back(std::move(next));
    self_->send(self_, next_is_due{});
  }

  void on(const next_is_due&) {
    if (broken_)
      return;
    const auto next = std::move(waiting_.front());
    waiting_.pop_front();
    if (next.tensors) {
      std::vector<tensor> came;
      if (!try_to([&] { came = next.tensors->wait(); }))
        return;
      for (std::size_t i = 0; i < came.size(); ++i)
        next.what->tensors[next.what->beside[i].place] = std::move(came[i]);
    }
    links_->unpacked(from_, number_, *next.what);
  }

 private:
  struct waiting {
    std::shared_ptr<parcel> what;
    std::unique_ptr<incoming_tensors> tensors;  // null: it has none that travel by the link
  };

  /// The keeper finds that the channel broke. Here everything stays undelivered that is still to come, with tensors and
  /// without.
  template <class F>
  bool try_to(F f) {
    try {
      f();
    } catch (const device_error&) {
      broken_ = true;
      by_->break_off();  // whatever it was
    }
    return !broken_;
  }

  unpacking_actor::pointer self_;
  std::shared_ptr<device_links> links_;
  node_id from_;
  std::uint64_t number_;
  std::shared_ptr<device_channel> by_;
  std::deque<waiting> waiting_;
  bool broken_ = false;
};

namespace {

struct unpacking_state {
  std::unique_ptr<unpacking> body;
  static inline const char* name = "unpacker";
};

unpacking_actor::behavior_type behave(unpacking_actor::stateful_pointer<unpacking_state> self,
                                      const std::shared_ptr<device_links>& links, node_id from, std::uint64_t number,
                                      const std::shared_ptr<device_channel>& by) {
  auto& body = self->state.body;
  body = std::make_unique<unpacking>(self, links, from, number, by);
  return {
      [&body](const parcel_came& message) { body->on(message); },
      [&body](const next_is_due& message) { body->on(message); },
  };
}

bool is_on_device(const tensor& value) { return value && value.size_bytes() > 0 && value.owner()->on(); }

}  // namespace

// -- sending ------------------------------------------------------------------------

bool device_links::send(node_id to, const parcel& what, const std::function<void(parcel)>& pass_on) {
  if (std::ranges::none_of(what.tensors, is_on_device))
    return false;
  std::shared_ptr<sending> link;
  {
    const std::lock_guard lock(mutex_);
    const auto found = sending_.find(to);
    if (found == sending_.end())
      return false;
    link = found->second;
  }
  auto rest = what;
  rest.device_link = link->number;
  std::vector<tensor> on_devices;
  for (std::size_t i = 0; i < rest.tensors.size(); ++i) {
    auto& each = rest.tensors[i];
    if (!is_on_device(each))
      continue;
    rest.beside.push_back({i, {each.type(), each.shape()}});
    on_devices.push_back(std::exchange(each, {}));
  }
  const std::lock_guard turn(link->turn);
  try {
    if (!link->by->send(on_devices)) {
      probe("device links: a link was full");
      return false;
    }
  } catch (const device_error&) {
    return false;  // it is broken, which the keeper finds out, too, or there is no memory
  }
  try {
    pass_on(std::move(rest));
  } catch (...) {
    link->by->break_off();  // or the next parcel would get these tensors
    throw;
  }
  for (const auto& each : on_devices)
    sent_bytes_ += each.size_bytes();
  return true;
}

void device_links::open_sending(node_id to, std::uint64_t number, std::shared_ptr<device_channel> by) {
  auto link = std::make_shared<sending>();
  link->number = number;
  link->by = std::move(by);
  const std::lock_guard lock(mutex_);
  sending_[to] = std::move(link);
}

void device_links::close_sending(node_id to) {
  const std::lock_guard lock(mutex_);
  sending_.erase(to);
}

// -- receiving ----------------------------------------------------------------------

bool device_links::take(node_id from, parcel& what) {
  caf::actor unpacker;
  {
    const std::lock_guard lock(mutex_);
    if (barred_.count(from) > 0)
      return true;
    const auto found = receiving_.find(from);
    if (what.device_link != 0 && (found == receiving_.end() || found->second.number != what.device_link)) {
      probe("device links: a parcel came whose link was gone");
      barred_.insert(from);
      unsound_.insert(from);
      return true;
    }
    if (found == receiving_.end())
      return false;
    auto& done = found->second.done;
    if (what.device_link == 0 && done.taken == done.delivered)
      return false;
    ++done.taken;
    unpacker = found->second.unpacker;
  }
  caf::anon_send(unpacker, parcel_came{std::make_shared<parcel>(std::move(what))});
  return true;
}

void device_links::unpacked(node_id from, std::uint64_t number, const parcel& what) {
  const auto find = [&] {
    const auto found = receiving_.find(from);
    return found != receiving_.end() && found->second.number == number ? &found->second : nullptr;
  };
  deliverer deliver;
  {
    const std::lock_guard lock(mutex_);
    if (const auto* const link = find())
      deliver = link->deliver;
  }
  if (!deliver)
    return;
  deliver(what);
  const std::lock_guard lock(mutex_);
  if (auto* const link = find())
    ++link->done.delivered;  // only now: until then what comes next waits behind it
}

void device_links::open_receiving(caf::actor_system& system, node_id from, std::uint64_t number,
                                  std::shared_ptr<device_channel> by, deliverer deliver) {
  const auto unpacker =
      caf::actor_cast<caf::actor>(spawn_computing(system, behave, shared_from_this(), from, number, std::move(by)));
  const std::lock_guard lock(mutex_);
  receiving_[from] = {number, unpacker, {}, std::move(deliver)};
}

bool device_links::close_receiving(node_id from) {
  const std::lock_guard lock(mutex_);
  const auto link = receiving_.extract(from);
  if (!link)
    return false;
  send_exit(link.mapped().unpacker, caf::exit_reason::kill);
  if (link.mapped().done.taken == link.mapped().done.delivered)
    return false;
  barred_.insert(from);
  return true;
}

void device_links::disconnect(node_id node) {
  close_sending(node);
  close_receiving(node);
}

device_links::progress device_links::of_receiving(node_id from) const {
  const std::lock_guard lock(mutex_);
  const auto found = receiving_.find(from);
  return found == receiving_.end() ? progress{} : found->second.done;
}

std::set<node_id> device_links::take_unsound() {
  const std::lock_guard lock(mutex_);
  return std::exchange(unsound_, {});
}

}  // namespace troupe
