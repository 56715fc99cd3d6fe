#pragma once

/// Networks between simulated nodes: every parcel of a link arrives in order, after a delay drawn from the simulation's
/// seed, or the link is lost, as links between machines are. A test can kill a node, break a link, and cut the network
/// in two. Who is cut off from whom is told so after a bound, as by a real detector, each side in its own time; a
/// partition that heals before costs no parcel, and one that only one side has noticed ends the link for the other.
///
///   simulated_wire wire{sim};
///   auto a = wire.make_network(), b = wire.make_network();
///   wire.kill(*a);
///
/// What is not simulated: bytes. Parcels are handed over as they are; their encoding is tested elsewhere.

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "runtime/transport/network.hpp"
#include "tests/simulation/simulator.hpp"

namespace troupe {

struct simulated_wire_options {
  std::chrono::milliseconds delay_max{20};      ///< of a parcel
  std::chrono::milliseconds closed_after{5};    ///< until the end of a process is seen
  std::chrono::milliseconds silent_max{2'000};  ///< until a partition is seen; each side sees it in its own time
};

class simulated_wire {
 public:
  class port;

  explicit simulated_wire(simulator& sim, simulated_wire_options options = {});
  simulated_wire(const simulated_wire&) = delete;
  simulated_wire& operator=(const simulated_wire&) = delete;
  ~simulated_wire();

  std::shared_ptr<network> make_network();

  /// As the end of its process: nothing more goes out or comes in; the others see it soon.
  void kill(network& which);
  // Each returns whether there was a connection for it to have an effect on.

  /// The connections between the two break, and both see it soon. They can be made again.
  bool break_links(network& a, network& b);
  /// `here` takes the connection for broken, and the other side finds out in its own time.
  bool half_break_links(network& here, network& there);
  /// Nothing passes between the two, and nobody is told, until they miss each other. Dials fail, too.
  bool partition(network& a, network& b);
  void heal();

  /// Parcels of a type that a network was given to carry.
  std::uint64_t sent(const network& by, const std::string& type) const;

  struct partition_counts {
    std::uint64_t noticed = 0;    ///< by one side of a link, by its silence
    std::uint64_t half_seen = 0;  ///< links whose one end was gone when all was whole again, and the other was not
    std::uint64_t outlived = 0;   ///< links that went on when all was whole again
  };
  const partition_counts& partitions() const { return partitions_; }

 private:
  struct link_end {
    port* here = nullptr;
    port* there = nullptr;
    link_id id_there = 0;
    std::deque<parcel> under_way;  // to here
    bool known = true;  // to here: a dialer learns of its link when the reply is back
    bool lost = false;  // about to be told so: nothing more is sent to here

    bool joins(const network& a, const network& b) const;
  };

  /// Runs `what` after `delay` of virtual time.
  void later(std::chrono::milliseconds delay, std::function<void()> what);
  std::chrono::milliseconds draw(std::chrono::milliseconds most);
  /// The number of the partition between two ports; 0: there is none.
  std::uint64_t separated(const port& a, const port& b) const;
  link_end* find(link_id id);
  void arrive(link_id at);
  /// The other end of `end` is gone: that is seen here, if anything is.
  void see_end(link_id at, const std::string& evidence, std::chrono::milliseconds after);
  void lose(link_id at, const std::string& evidence, std::chrono::milliseconds after);
  void tell_lost(link_id at, const std::string& evidence);

  simulator& sim_;
  simulated_wire_options options_;
  caf::actor courier_;
  std::vector<std::shared_ptr<port>> ports_;
  std::map<std::string, port*> by_endpoint_;
  std::map<link_id, link_end> links_;
  std::map<std::pair<const port*, const port*>, std::uint64_t> separated_;
  std::uint64_t partitions_made_ = 0;
  partition_counts partitions_;
  link_id next_link_ = 1;
};

}  // namespace troupe
