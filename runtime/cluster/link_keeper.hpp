#pragma once

/// The link keeper: the actor that owns a node's device links (runtime/transport/device_links.hpp). It forms them with the
/// keepers of other nodes, watches them, breaks them, and forms them anew. For each node that this one may send to:
///
///     resting  --link_wish-->    asked      is there a way to your GPU?
///     asked    <--link_offer--   forming    by this channel; its receiver has opened its end
///     forming  <--link_formed--  ready      both ends have found each other: tensors travel by it
///     forming, ready --link_broken, either way--> resting, for longer each time; refused after five in a row
///     asked    <--link_refusal-- refused    for as long as that node lives
///
/// Five in a row are those between which none was ready for `link_times::rest_max`.
///
/// Whatever its state, messages travel: where it is not `ready` their tensors pass through the hosts' memory. A link that
/// breaks costs nothing unless parcels waited for tensors from it: then their sender counts as lost, since those messages
/// are (see device_links.hpp).

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <caf/all.hpp>

#include "runtime/log_line.hpp"
#include "runtime/tensor/device_channel.hpp"
#include "runtime/transport/remoting.hpp"

namespace troupe {

// -- between keepers -------------------------------------------------------------------

/// From who would send.
struct link_wish {
  node_id from = head_node;
  std::string gpu;
};
struct link_offer {
  node_id from = head_node;
  std::uint64_t number = 0;   ///< the receiver's, never given again
  std::vector<std::uint8_t> id;
};
struct link_refusal {
  node_id from = head_node;
  std::string reason;
};
/// The receiving end is ready.
struct link_formed {
  node_id from = head_node;
  std::uint64_t number = 0;
};
/// From either end: it has gone, or did not come about.
struct link_broken {
  node_id from = head_node;
  std::uint64_t number = 0;   ///< 0: a wish could not be granted
  channel_end end = channel_end::sending;  ///< that of who says so
  std::string evidence;
};

void add_link_codecs(message_codecs& codecs);

using link_keeper_actor =
    caf::typed_actor<caf::reacts_to<link_wish>, caf::reacts_to<link_offer>, caf::reacts_to<link_refusal>,
                     caf::reacts_to<link_formed>, caf::reacts_to<link_broken>>;

/// What a node has for device links.
struct link_means {
  std::shared_ptr<channel_maker> maker;  ///< null: nothing
  std::string fault{};                   ///< then: why
};

struct link_hooks {
  /// Parcels of this node are lost: so is the node.
  std::function<void(node_id, const std::string& evidence)> lose;
  std::function<void(const log_line&)> log;
};

/// So many links to a node may fail in a row: then none is tried any more, for as long as that node lives.
inline constexpr unsigned link_failures_max = 5;

struct link_times {
  std::chrono::milliseconds watch{50};            ///< between looks at every link
  std::chrono::milliseconds form_within{30'000};
  /// A parcel may come long before its tensors are computed, but not for ever.
  std::chrono::milliseconds arrive_within{300'000};
  std::chrono::milliseconds rest_first{1'000};    ///< after a link broke; then doubled
  std::chrono::milliseconds rest_max{60'000};
};

/// Owns a thread: NCCL takes its time to begin. Ends its links when it ends.
caf::actor spawn_link_keeper(caf::actor_system& system, std::shared_ptr<remoting> post, link_means means,
                             link_hooks hooks, const link_times& times = {});

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::link_wish)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::link_offer)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::link_refusal)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::link_formed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::link_broken)
