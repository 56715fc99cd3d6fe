#include "runtime/supervision/directory.hpp"

#include <algorithm>
#include <map>

#include "runtime/probe.hpp"
#include "runtime/supervision/errc.hpp"

namespace troupe {

namespace {

struct watch {
  std::string prefix;
  caf::actor_addr watcher;  ///< weak: to watch does not keep alive
};

bool begins_with(const std::string& name, const std::string& prefix) {
  return name.compare(0, prefix.size(), prefix) == 0;
}

struct directory_state {
  const char* name = "directory";
  std::map<std::string, directory_entry> entries;
  std::vector<watch> watches;

  static void tell(const watch& who, const directory_entry& entry) {
    if (const auto watcher = caf::actor_cast<caf::actor>(who.watcher); watcher && begins_with(entry.name, who.prefix))
      caf::anon_send(watcher, entry);
  }

  void tell_all(const directory_entry& entry) const {
    for (const auto& who : watches)
      tell(who, entry);
  }

  void withdraw(directory_entry& entry) {
    entry.handle = {};
    tell_all(entry);
  }

  /// A holder or a watcher has ended.
  void forget(const caf::actor_addr& whom) {
    std::erase_if(watches, [&](const watch& x) { return x.watcher == whom; });
    for (auto& [name, entry] : entries)
      if (entry.handle && entry.handle.address() == whom)
        withdraw(entry);
  }
};

directory_actor::behavior_type directory(directory_actor::stateful_pointer<directory_state> self) {
  keep_exceptions(self);
  self->set_down_handler([self](caf::down_msg& down) { self->state.forget(down.source); });
  return {
    [self](const publish_name& publish) {
      auto& known = self->state.entries[publish.entry.name];
      if (publish.entry.incarnation < known.incarnation)
        return probe("directory: a late incarnation was ignored");
      known = publish.entry;
      if (known.handle)
        self->monitor(known.handle);
      self->state.tell_all(known);
    },
    [self](const withdraw_name& withdraw) {
      const auto found = self->state.entries.find(withdraw.name);
      if (found == self->state.entries.end() || found->second.incarnation != withdraw.incarnation)
        return;
      if (found->second.handle)
        self->state.withdraw(found->second);
    },
    [self](const resolve_name& resolve) -> caf::result<directory_entry> {
      const auto found = self->state.entries.find(resolve.name);
      if (found == self->state.entries.end())
        return make_error(errc::unknown_name, resolve.name + ": nobody was ever published by this name");
      return found->second;
    },
    [self](const watch_names& request) {
      const watch who{request.prefix, request.watcher.address()};
      self->monitor(request.watcher);
      for (const auto& [name, entry] : self->state.entries)
        directory_state::tell(who, entry);
      self->state.watches.push_back(who);
    },
    [self](const list_names& list) {
      name_list result;
      for (const auto& [name, entry] : self->state.entries)
        if (begins_with(name, list.prefix))
          result.entries.push_back(entry);
      return result;
    },
  };
}

}  // namespace

directory_actor spawn_directory(caf::actor_system& system) {
  return system.spawn(directory);
}

}  // namespace troupe
