#pragma once

/// The directory maps a logical name such as "shard/3" to the live handle and its incarnation. Whoever holds a name,
/// not a handle, survives a restart.

#include <cstdint>
#include <string>
#include <vector>

#include <caf/all.hpp>

namespace troupe {

struct directory_entry {
  std::string name;
  std::uint64_t incarnation = 0;
  caf::actor handle;  ///< empty: the name is known but nobody lives there now
};

// -- protocol ------------------------------------------------------------------

/// Binds a name. An incarnation below the known one is ignored: it is late.
struct publish_name { directory_entry entry; };
/// Marks the name's holder as gone, if `incarnation` is still the known one.
struct withdraw_name { std::string name; std::uint64_t incarnation = 0; };
/// The entry now; errc::unknown_name where the name was never published.
struct resolve_name { std::string name; };
/// Sends `directory_entry` to the watcher for every present and future entry whose name begins with `prefix`,
/// until the watcher ends.
struct watch_names { std::string prefix; caf::actor watcher; };
struct list_names { std::string prefix; };
struct name_list { std::vector<directory_entry> entries; };

using directory_actor = caf::typed_actor<caf::reacts_to<publish_name>, caf::reacts_to<withdraw_name>,
                                         caf::replies_to<resolve_name>::with<directory_entry>,
                                         caf::reacts_to<watch_names>, caf::replies_to<list_names>::with<name_list>>;

/// Monitors what it names: a holder that ends is withdrawn even when nobody says so.
directory_actor spawn_directory(caf::actor_system& system);

}  // namespace troupe

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::directory_entry)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::publish_name)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::withdraw_name)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::resolve_name)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::watch_names)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::list_names)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::name_list)

namespace troupe {

/// For a thread of no actor's: sends to whoever holds the name now. False where nobody does.
template <class Message>
bool tell_by_name(caf::scoped_actor& self, const directory_actor& names, const char* name, Message message) {
  bool told = false;
  self->request(names, caf::infinite, resolve_name{name})
      .receive(
          [&](const directory_entry& entry) {
            if ((told = static_cast<bool>(entry.handle)))
              self->send(entry.handle, std::move(message));
          },
          [](const caf::error&) {
            // Not published yet.
          });
  return told;
}

}  // namespace troupe
