#pragma once

/// Requests to a logical name. Whoever holds the name may die and come back while the request is on its way: it is
/// resolved and sent again, a bounded number of times and within a bounded time (P3).
///
///   request_by_name<shard_actor>(self, names, "shard/3", pull{version}, retry_policy{},
///                                [=](const parameters& x) { ... },
///                                [=](const caf::error& why) { self->quit(why); });
///
/// To answer a request of one's own from it, capture a response promise in both functions.

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include <caf/all.hpp>

#include "runtime/supervision/backoff.hpp"
#include "runtime/supervision/directory.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"

namespace troupe {

struct retry_policy {
  std::uint32_t attempts_max = 20;
  std::chrono::milliseconds attempt_within{10'000};  ///< for the answer to one attempt
  std::chrono::milliseconds within{60'000};          ///< for everything
  backoff pause{std::chrono::milliseconds{10}, std::chrono::milliseconds{2'000}};  ///< between attempts
};

/// Whether the holder's successor may answer better: the holder is dead, does not answer, or died of this request. Any
/// other error is an answer.
bool worth_retrying(const caf::error& reason);

/// What remains to be said when retrying has ended: errc::timed_out, root cause first.
caf::error retries_exhausted(const std::string& name, const caf::error& last, std::uint32_t attempts,
                             std::chrono::milliseconds elapsed);

namespace detail {

template <class Handle, class Self, class Message, class Then, class Otherwise>
class named_request : public std::enable_shared_from_this<named_request<Handle, Self, Message, Then, Otherwise>> {
 public:
  named_request(Self* self, directory_actor names, std::string name, Message message, const retry_policy& policy,
                Then then, Otherwise otherwise)
      : self_(self),
        names_(std::move(names)),
        name_(std::move(name)),
        message_(std::move(message)),
        policy_(policy),
        then_(std::move(then)),
        otherwise_(std::move(otherwise)),
        begin_(self->clock().now()) {
    // nop
  }

  void attempt() {
    ++attempts_;
    self_->request(names_, patience(), resolve_name{name_})
        .then(
            [me = this->shared_from_this()](const directory_entry& entry) {
              if (entry.handle)
                me->send(caf::actor_cast<Handle>(entry.handle));
              else
                me->retry(make_error(errc::unknown_name, "nobody holds the name now"));
            },
            [me = this->shared_from_this()](caf::error& reason) { me->retry(reason); });
  }

 private:
  void send(const Handle& holder) {
    self_->request(holder, patience(), message_).then(then_, [me = this->shared_from_this()](caf::error& reason) {
      if (worth_retrying(reason))
        me->retry(reason);
      else
        me->otherwise_(reason);
    });
  }

  void retry(const caf::error& reason) {
    const auto pause = policy_.pause.delay(attempts_, attempts_);
    if (attempts_ >= policy_.attempts_max || elapsed() + pause >= policy_.within)
      otherwise_(retries_exhausted(name_, reason, attempts_, elapsed()));
    else
      run_later(self_, pause, [me = this->shared_from_this()] { me->attempt(); });
  }

  std::chrono::milliseconds elapsed() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(self_->clock().now() - begin_);
  }

  std::chrono::milliseconds patience() const {
    return std::clamp(policy_.within - elapsed(), std::chrono::milliseconds{1}, policy_.attempt_within);
  }

  Self* self_;  // outlives this, which only its pending responses hold
  directory_actor names_;
  std::string name_;
  Message message_;
  retry_policy policy_;
  Then then_;
  Otherwise otherwise_;
  caf::actor_clock::time_point begin_;
  std::uint32_t attempts_ = 0;
};

}  // namespace detail

/// Sends `message` from `self` (a pointer to any event-based actor) to whoever holds `name`, and calls one of the two
/// functions on self's thread: `then` with the answer, or `otherwise` with an error. That error is the holder's own
/// where it answered with one, else errc::timed_out: "shard/3: request_timeout; gave up after 20 attempts in 60.0 s".
///
/// A message that was re-sent may have been handled twice: it must be idempotent or numbered. Where `self` ends first,
/// neither function is called.
template <class Handle = caf::actor, class Self, class Message, class Then, class Otherwise>
void request_by_name(Self* self, directory_actor names, std::string name, Message message, const retry_policy& policy,
                     Then then, Otherwise otherwise) {
  using request = detail::named_request<Handle, Self, Message, Then, Otherwise>;
  std::make_shared<request>(self, std::move(names), std::move(name), std::move(message), policy, std::move(then),
                            std::move(otherwise))
      ->attempt();
}

}  // namespace troupe
