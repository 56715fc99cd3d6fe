#pragma once

/// What the thread of a `tcp_network` does: it accepts, dials, shakes hands, receives, and watches who is silent.

#include <sys/epoll.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "runtime/transport/frame_reader.hpp"
#include "runtime/transport/handshake.hpp"
#include "runtime/transport/link_table.hpp"
#include "runtime/transport/phi_detector.hpp"
#include "runtime/transport/resolver.hpp"
#include "runtime/transport/tcp_network.hpp"
#include "runtime/transport/tls_context.hpp"

namespace troupe {

/// Belongs to the thread that runs it, save what is said to be thread safe.
class tcp_loop {
 public:
  tcp_loop(const tcp_options& options, link_table& links, poller& sockets);
  ~tcp_loop();

  /// Serves until `stop` was called and what was closed before has left.
  void run(const descriptor& listener, network_events events);

  /// Thread safe: has the loop's thread call `f`.
  void post(std::function<void()> f);
  /// Thread safe.
  void stop();
  /// Thread safe: whether the calling thread is the loop's.
  bool is_mine() const noexcept { return thread_ == std::this_thread::get_id(); }

  // -- for functions that were posted ----------------------------------------

  void dial(const std::string& endpoint, std::string introduction, std::function<void(dial_result)> done);
  /// Links that are open already are watched as they were; heartbeats change for all.
  void watch_peers(const failure_detection& how) { peers_ = how; }
  /// Of a link that was removed from the table.
  void finish(link_id link);

 private:
  using clock = std::chrono::steady_clock;
  struct connection;

  // -- the loop ----------------------------------------------------------------

  void call_posted();
  void on_event(const epoll_event& event);
  void on_input(connection& c);
  void tick(clock::time_point now);
  void end_all();

  // -- the beginning of a connection -------------------------------------------

  void begin_accepting();
  void accept_all();
  void make_room_for_stranger();
  connection& add_connection();
  void connect_next(connection& c);
  void on_connected(connection& c);
  void begin_handshake(connection& c);
  void continue_handshake(connection& c);
  void secure(connection& c);
  void shake_hands(connection& c);
  void introduce(connection& c);
  void conclude(connection& c, const introduction_reply& reply);
  void turn_away(connection& c, const handshake_error& reason);
  void tell_turned_away(const connection& c, std::string_view reason) const;
  void open(connection& c);

  // -- its life ----------------------------------------------------------------

  void receive(connection& c);
  /// Calls `take`, which gives bytes to the reader; whether the connection goes on.
  template <class Take>
  bool take_frames(connection& c, Take take);

  // -- its end -----------------------------------------------------------------

  /// It gives up, in whatever phase it is.
  void give_up(connection& c, const std::string& reason);
  /// Lets what is queued leave, and reads until the other side has ended, too: an end with unread input would be a
  /// reset, which may overtake what was sent.
  void drain(connection& c, outgoing last);
  static outgoing goodbye();
  void fence(connection& c, const std::string& evidence);
  /// Reads on after the end, and counts what would have been parcels.
  void discard_input(connection& c);
  void remove(connection& c);

  static constexpr std::uint64_t listener_key = 1;

  std::atomic<std::thread::id> thread_;
  const tcp_options& options_;
  failure_detection peers_;
  std::optional<tls_context> tls_;
  link_table& links_;
  poller& poller_;
  network_events events_;
  const descriptor* listener_ = nullptr;
  bool accepting_ = false;

  std::map<link_id, std::unique_ptr<connection>> connections_;  ///< oldest first
  link_id next_id_ = listener_key + 1;                          ///< ids are the poller's keys, too
  std::size_t strangers_ = 0;                                   ///< that have not proved to know the secret
  const std::size_t strangers_max_;
  clock::time_point next_tick_;

  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;
  bool stopped_ = false;

  resolver resolver_;  ///< its thread posts, so that it ends first
};

}  // namespace troupe
