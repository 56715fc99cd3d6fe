#include "runtime/cluster/link_keeper.hpp"

#include <algorithm>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "runtime/probe.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe {

namespace {

using time_point = caf::actor_clock::time_point;

class link_keeper {
 public:
  link_keeper(link_keeper_actor::pointer self, std::shared_ptr<remoting> post, link_means means, link_hooks hooks,
              const link_times& times)
      : self_(self), post_(std::move(post)), means_(std::move(means)), hooks_(std::move(hooks)), times_(times) {
    if (!means_.maker)
      say(post_->self(), "tensors for other nodes pass through the hosts' memory: " + means_.fault, log_level::warn);
    look();
  }

  ~link_keeper() {
    while (!to_.empty())
      end_sending(to_.begin()->first);
    while (!from_.empty())
      end_receiving(from_.begin()->first);
  }

  // -- as the one who receives ------------------------------------------------------------

  void on(const link_wish& message) {
    const auto from = message.from;
    if (!is_connected(from))
      return;
    if (!means_.maker)
      return tell(self_, keeper_of(from), link_refusal{post_->self(), means_.fault});
    if (message.gpu == means_.maker->gpu())
      return tell(self_, keeper_of(from), link_refusal{post_->self(), "both nodes use the same GPU"});
    if (from_.count(from) > 0)
      break_receiving(from, "it asks for another");
    const auto number = ++last_number_;
    try {
      const auto id = means_.maker->draw_id();
      from_[from] = {number, means_.maker->open(id, channel_end::receiving), false, 0, now() + times_.form_within};
      const auto* const first = reinterpret_cast<const std::uint8_t*>(id.data());
      tell(self_, keeper_of(from), link_offer{post_->self(), number, {first, first + id.size()}});
    } catch (const device_error& fault) {
      tell(self_, keeper_of(from), link_broken{post_->self(), 0, channel_end::receiving, fault.what()});
    }
  }

  // -- as the one who sends ---------------------------------------------------------------

  void on(const link_offer& message) {
    const auto found = to_.find(message.from);
    channel_id id{};
    if (found == to_.end() || found->second.now != state::asked || message.id.size() != id.size())
      return;
    std::ranges::copy(std::as_bytes(std::span(message.id)), id.begin());
    auto& link = found->second;
    link.number = message.number;
    try {
      link.channel = means_.maker->open(id, channel_end::sending);
      link.now = state::forming;
      link.until = now() + times_.form_within;
    } catch (const device_error& fault) {
      break_sending(message.from, fault.what());
    }
  }

  void on(const link_refusal& message) {
    const auto found = to_.find(message.from);
    if (found == to_.end() || found->second.now != state::asked)
      return;
    found->second.now = state::refused;
    say(message.from, fmt::format("no link to node {}: {}", message.from, message.reason));
  }

  void on(const link_formed& message) {
    if (const auto found = to_.find(message.from); found != to_.end() && found->second.number == message.number)
      found->second.confirmed = true;
  }

  void on(const link_broken& message) {
    if (message.end == channel_end::sending) {
      if (const auto found = from_.find(message.from); found != from_.end() && found->second.number == message.number)
        break_receiving(message.from, message.evidence, false);
      return;
    }
    const auto found = to_.find(message.from);
    if (found == to_.end())
      return;
    const auto& link = found->second;
    const auto number = link.now == state::asked ? 0 : link.channel ? link.number : ~std::uint64_t{0};
    if (message.number == number)
      break_sending(message.from, message.evidence, false);
  }

 private:
  enum class state : std::uint8_t { resting, asked, forming, ready, refused };

  struct sending {
    state now = state::resting;
    std::uint64_t number = 0;
    std::shared_ptr<device_channel> channel{};  // forming or ready
    bool confirmed = false;                     // by its receiver
    time_point until{};                         // resting, forming: at most; ready: then it counts as a success
    unsigned failures = 0;                      // in a row
  };

  struct receiving {
    std::uint64_t number = 0;
    std::shared_ptr<device_channel> channel;
    bool ready = false;
    std::uint64_t delivered = 0;  // as of the last look
    time_point until{};           // forming, or the oldest parcel waiting: at most
  };

  time_point now() const { return self_->clock().now(); }

  void say(node_id about, std::string message, log_level level = log_level::info) {
    hooks_.log({.event = "gpu_link", .message = std::move(message), .level = level, .node = about});
  }

  caf::actor keeper_of(node_id node) { return post_->handle({node, link_keeper_name, 1}); }

  bool is_connected(node_id node) const {
    const auto nodes = post_->connected();
    return std::ranges::find(nodes, node) != nodes.end();
  }

  // -- watching ---------------------------------------------------------------------------

  void look() {
    run_later(self_, times_.watch, [this] { look(); });
    for (const auto node : post_->links().take_unsound())
      hooks_.lose(node, "parcels came whose tensors were on a device link that had broken");
    const auto nodes = post_->connected();
    const auto is_gone = [&](node_id node) { return std::ranges::find(nodes, node) == nodes.end(); };
    for (const auto node : keys_of(to_))
      if (is_gone(node))
        end_sending(node);
    for (const auto node : keys_of(from_))
      if (is_gone(node))
        end_receiving(node);
    if (!means_.maker)
      return;
    for (const auto node : nodes)
      if (node != head_node)  // which computes nothing
        look_at_sending(node, to_[node]);
    for (const auto node : keys_of(from_))
      look_at_receiving(node, from_[node]);
  }

  template <class Map>
  static std::vector<node_id> keys_of(const Map& map) {
    std::vector<node_id> keys;
    for (const auto& each : map)
      keys.push_back(each.first);
    return keys;
  }

  void look_at_sending(node_id node, sending& link) {
    try {
      if (link.now == state::resting && now() >= link.until) {
        link.now = state::asked;
        tell(self_, keeper_of(node), link_wish{post_->self(), means_.maker->gpu()});
      } else if (link.now == state::ready) {
        link.channel->is_ready();
      } else if (link.now == state::forming && link.channel->is_ready() && link.confirmed) {
        link.now = state::ready;
        link.until = now() + times_.rest_max;
        post_->links().open_sending(node, link.number, link.channel);
        say(node, fmt::format("tensors for node {} go from GPU to GPU", node));
        if (const auto advice = means_.maker->advice(); !advice.empty() && !std::exchange(advised_, true))
          say(post_->self(), advice, log_level::warn);
      } else if (link.now == state::forming && now() >= link.until) {
        break_sending(node, not_formed());
      }
    } catch (const device_error& fault) {
      break_sending(node, fault.what());
    }
  }

  void look_at_receiving(node_id node, receiving& link) {
    try {
      const bool ready = link.channel->is_ready();
      const auto [taken, delivered] = post_->links().of_receiving(node);
      if (link.ready && (taken == delivered || delivered != std::exchange(link.delivered, delivered))) {
        link.until = now() + times_.arrive_within;
      } else if (!link.ready && ready) {
        link.ready = true;
        post_->links().open_receiving(self_->system(), node, link.number, link.channel,
                                      [node, post = std::weak_ptr(post_)](const parcel& what) {
                                        if (const auto to = post.lock())
                                          to->accept(node, what);
                                      });
        tell(self_, keeper_of(node), link_formed{post_->self(), link.number});
      } else if (now() >= link.until) {
        break_receiving(node, link.ready ? fmt::format("tensors did not come for {} s", seconds(times_.arrive_within))
                                         : not_formed());
      }
    } catch (const device_error& fault) {
      break_receiving(node, fault.what());
    }
  }

  static double seconds(std::chrono::milliseconds time) { return std::chrono::duration<double>(time).count(); }
  std::string not_formed() const {
    return fmt::format("its two ends did not find each other in {} s", seconds(times_.form_within));
  }

  // -- breaking ---------------------------------------------------------------------------

  void break_sending(node_id node, const std::string& evidence, bool tells = true) {
    probe("link keeper: a link broke at its sender");
    auto link = end_sending(node);
    if (tells)
      tell(self_, keeper_of(node), link_broken{post_->self(), link.number, channel_end::sending, evidence});
    const auto failures = link.now == state::ready && now() >= link.until ? 1 : link.failures + 1;
    auto rest = times_.rest_first;
    for (unsigned i = 1; i < failures && rest < times_.rest_max; ++i)
      rest *= 2;
    to_[node] = {.until = now() + std::min(rest, times_.rest_max), .failures = failures};
    say(node, fmt::format("tensors for node {} pass through the hosts' memory: {}", node, evidence), log_level::warn);
    if (failures < link_failures_max)
      return;
    to_[node].now = state::refused;
    say(node,
        fmt::format("no further link to node {} is tried: {} in a row failed. NCCL tells more with NCCL_DEBUG=INFO; it "
                    "may need NCCL_SOCKET_IFNAME, or a firewall that lets it through; cluster.gpu_links = \"off\" tries "
                    "none at all",
                    node, failures),
        log_level::warn);
  }

  void break_receiving(node_id node, const std::string& evidence, bool tells = true) {
    probe("link keeper: a link broke at its receiver");
    const auto link = from_.extract(node).mapped();
    // Those who have to know first: to break a channel off may take its time.
    if (post_->links().close_receiving(node)) {
      probe("link keeper: a link broke with parcels under way");
      hooks_.lose(node, fmt::format("the device link from it broke with messages under way: {}", evidence));
    } else if (tells) {
      tell(self_, keeper_of(node), link_broken{post_->self(), link.number, channel_end::receiving, evidence});
    }
    link.channel->break_off();
  }

  sending end_sending(node_id node) {
    auto link = to_.extract(node).mapped();
    post_->links().close_sending(node);
    if (link.channel)
      link.channel->break_off();
    return link;
  }

  void end_receiving(node_id node) {
    const auto link = from_.extract(node).mapped();
    post_->links().close_receiving(node);
    link.channel->break_off();
  }

  link_keeper_actor::pointer self_;
  std::shared_ptr<remoting> post_;
  link_means means_;
  link_hooks hooks_;
  link_times times_;
  std::map<node_id, sending> to_;
  std::map<node_id, receiving> from_;
  std::uint64_t last_number_ = 0;
  bool advised_ = false;
};

struct link_keeper_state {
  std::unique_ptr<link_keeper> body;
  static inline const char* name = "link_keeper";
};

link_keeper_actor::behavior_type behave(link_keeper_actor::stateful_pointer<link_keeper_state> self,
                                        const std::shared_ptr<remoting>& post, const link_means& means,
                                        const link_hooks& hooks, const link_times& times) {
  keep_exceptions(self);
  auto& body = self->state.body;
  body = std::make_unique<link_keeper>(self, post, means, hooks, times);
  return {
      [&body](const link_wish& message) { body->on(message); },
      [&body](const link_offer& message) { body->on(message); },
      [&body](const link_refusal& message) { body->on(message); },
      [&body](const link_formed& message) { body->on(message); },
      [&body](const link_broken& message) { body->on(message); },
  };
}

}  // namespace

void add_link_codecs(message_codecs& codecs) {
  codecs.add<link_wish>("link_wish");
  codecs.add<link_offer>("link_offer");
  codecs.add<link_refusal>("link_refusal");
  codecs.add<link_formed>("link_formed");
  codecs.add<link_broken>("link_broken");
}

caf::actor spawn_link_keeper(caf::actor_system& system, std::shared_ptr<remoting> post, link_means means,
                             link_hooks hooks, const link_times& times) {
  return caf::actor_cast<caf::actor>(
      spawn_computing(system, behave, std::move(post), std::move(means), std::move(hooks), times));
}

}  // namespace troupe
