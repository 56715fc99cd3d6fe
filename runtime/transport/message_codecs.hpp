#pragma once

/// Which messages may travel, and how. Filled once before anything is sent, then read by all threads.

#include <map>
#include <string>
#include <typeindex>

#include <caf/all.hpp>

#include "runtime/transport/archive.hpp"

namespace troupe {

class message_codecs {
 public:
  struct codec {
    std::string name;
    void (*write)(const void* message, message_writer& out);
    /// Puts the message into the mailbox of `to`. Throws input_error where the parcel is not what its type says.
    void (*deliver)(message_reader& in, const caf::actor& to, caf::strong_actor_ptr from);
  };

  /// REQUIRES: neither the type nor the name was added before.
  template <class Message>
  void add(std::string name) {
    const codec how{name,
                    [](const void* message, message_writer& out) { out.write(*static_cast<const Message*>(message)); },
                    [](message_reader& in, const caf::actor& to, caf::strong_actor_ptr from) {
                      Message message;
                      in.read(message);
                      in.expect_end();
                      to->eq_impl(caf::make_message_id(), std::move(from), nullptr, std::move(message));
                    }};
    by_type_.emplace(typeid(Message), by_name_.emplace(std::move(name), how).first->second);
  }

  const codec* find(const std::type_info& type) const { return lookup(by_type_, std::type_index{type}); }
  const codec* find(const std::string& name) const { return lookup(by_name_, name); }

 private:
  template <class Map, class Key>
  static const codec* lookup(const Map& map, const Key& key) {
    const auto found = map.find(key);
    return found == map.end() ? nullptr : &found->second;
  }

  std::map<std::type_index, codec> by_type_;
  std::map<std::string, codec> by_name_;
};

}  // namespace troupe
