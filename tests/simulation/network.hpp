#pragma once

/// Networks between simulated nodes: every parcel of a link arrives in order, after a delay drawn from the simulation's
/// seed, or the link is lost, as links between machines are. A test can kill a node, break a link, and cut the network
/// in two; what is silent is told lost after a bound, as a real detector does.
///
///   simulated_wire wire{sim};
///   auto a = wire.make_network(), b = wire.make_network();
///   wire.kill(*a);
///
/// What is not simulated: bytes. Parcels are handed over as they are; their encoding is tested elsewhere.

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>

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
  /// The connections between the two break, and both see it soon. They can be made again.
  void break_links(network& a, network& b);
  /// `here` takes the connection for broken, and the other side finds out in its own time.
  void half_break_links(network& here, network& there);
  /// Nothing passes between the two, and nobody is told, until both sides miss each other. Dials fail, too.
  void partition(network& a, network& b);
  void heal();

 private:
  struct link_end {
    port* here = nullptr;
    port* there = nullptr;
    link_id id_there = 0;
    std::deque<parcel> under_way;  // to here
    bool known = true;  // to here: a dialer learns of its link when the reply is back
    bool lost = false;
  };

  /// Runs `what` after `delay` of virtual time.
  void later(std::chrono::milliseconds delay, std::function<void()> what);
  std::chrono::milliseconds draw(std::chrono::milliseconds most);
  bool separated(const port& a, const port& b) const;
  link_end* find(link_id id);
  void arrive(link_id at);
  void lose(link_id at, const std::string& evidence, std::chrono::milliseconds after);

  simulator& sim_;
  simulated_wire_options options_;
  caf::actor courier_;
  std::vector<std::shared_ptr<port>> ports_;
  std::map<std::string, port*> by_endpoint_;
  std::map<link_id, link_end> links_;
  std::set<std::pair<const port*, const port*>> separated_;
  link_id next_link_ = 1;
};

}  // namespace troupe
