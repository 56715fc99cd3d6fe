// Device links with everything below them but NCCL itself: two nodes in this process, on an emulated GPU and over TCP.

#include <algorithm>
#include <chrono>
#include <functional>
#include <mutex>
#include <thread>

#include <caf/all.hpp>

#include "emulated.hpp"
#include "runtime/cluster/link_keeper.hpp"
#include "runtime/system.hpp"
#include "runtime/transport/tcp_network.hpp"
#include "tests/command_process.hpp"

using namespace troupe;
using tests::variable;

namespace {

struct weighed {
  std::uint64_t number = 0;
  tensor payload;
};

}  // namespace

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(weighed)

namespace {

/// A channel that says before it is broken off.
class watched_channel final : public device_channel {
 public:
  watched_channel(std::unique_ptr<device_channel> real, std::function<void()> before_end)
      : real_(std::move(real)), before_end_(std::move(before_end)) {}
  bool is_ready() override { return real_->is_ready(); }
  bool send(std::span<const tensor> what) override { return real_->send(what); }
  std::unique_ptr<incoming_tensors> receive(std::span<const tensor_form> what) override { return real_->receive(what); }
  void break_off() override {
    before_end_();
    real_->break_off();
  }

 private:
  std::unique_ptr<device_channel> real_;
  std::function<void()> before_end_;
};

/// The two nodes count as having different GPUs.
class named_maker final : public channel_maker {
 public:
  named_maker(std::string gpu, std::function<void(channel_end)> before_end)
      : gpu_(std::move(gpu)), before_end_(std::move(before_end)) {}
  std::string gpu() const override { return gpu_; }
  channel_id draw_id() override { return real_->draw_id(); }
  std::unique_ptr<device_channel> open(const channel_id& id, channel_end end) override {
    return std::make_unique<watched_channel>(real_->open(id, end), [this, end] { before_end_(end); });
  }

 private:
  std::string gpu_;
  std::function<void(channel_end)> before_end_;
  std::shared_ptr<channel_maker> real_ = cuda_module().channels(0);
};

struct got {
  std::uint64_t number = 0;
  std::string device;
  float first = 0.0f;
};

class linked_node {
 public:
  linked_node(node_id id, std::chrono::milliseconds arrive_within)
      : carrier_(make_tcp_network({})), post_(std::make_shared<remoting>(world_.get(), carrier_, codecs())) {
    post_->become(id);
    const auto peer = id == 1 ? 2u : 1u;
    const auto with_post = [weak = std::weak_ptr(post_)](auto does) {
      if (const auto post = weak.lock())
        does(*post);
    };
    carrier_->start({[=](link_id link, const std::string&) {
                       with_post([&](remoting& post) { post.connect(peer, link); });
                       return introduction_reply{true, {}};
                     },
                     [=](link_id, parcel what) {
                       with_post([&](remoting& post) { post.receive(peer, std::move(what)); });
                     },
                     [=](link_id, const std::string& evidence) {
                       with_post([&](remoting& post) { post.disconnect(peer, evidence); });
                     }});
    link_times times;
    times.watch = std::chrono::milliseconds{5};
    times.arrive_within = arrive_within;
    const auto note_end = [this](channel_end end) {
      if (end == channel_end::receiving)
        note(lost_when_broken_, lost().size());
    };
    keeper_ = spawn_link_keeper(world_.get(), post_, {std::make_shared<named_maker>(std::to_string(id), note_end)},
                                {[=, this](node_id, const std::string& evidence) {
                                   note(lost_, evidence);
                                   with_post([&](remoting& post) { post.disconnect(peer, evidence); });
                                 },
                                 [this](const log_line& line) { note(log_, line.message); }},
                                times);
    post_->host(link_keeper_name, 1, keeper_);
    reader_ = world_.get().spawn([this](caf::event_based_actor*) -> caf::behavior {
      return {[this](const weighed& message) {
        const auto* const where = message.payload.owner()->on();
        const auto host = on_host({&message.payload, 1}).front();
        note(came_, got{message.number, where ? where->name() : "host", host.data<float>()[0]});
      }};
    });
    post_->host("reader", 1, reader_);
  }

  ~linked_node() {
    for (const auto& each : {keeper_, reader_})
      send_exit(each, caf::exit_reason::kill);
    keeper_ = reader_ = {};
    post_.reset();
    world_.wind_down();
    end_network(carrier_);
  }

  void dial(const linked_node& other) {
    carrier_->dial(other.carrier_->endpoint(), {}, [this](const dial_result& result) {
      if (result.link != 0)
        post_->connect(post_->self() == 1 ? 2 : 1, result.link);
    });
  }

  void say(node_id to, std::uint64_t number, const tensor& payload) {
    caf::anon_send(post_->handle({to, "reader", 1}), weighed{number, payload});
  }
  remoting& post() { return *post_; }

  std::vector<got> came() const { return read(came_); }
  std::vector<std::string> lost() const { return read(lost_); }
  /// How many nodes it had lost whenever it began to break off a channel by which it receives.
  std::vector<std::size_t> lost_when_broken() const { return read(lost_when_broken_); }
  bool is_linked() const {
    for (const auto& each : read(log_))
      if (each.find("from GPU to GPU") != std::string::npos)
        return true;
    return false;
  }

 private:
  static message_codecs codecs() {
    message_codecs all;
    add_link_codecs(all);
    all.add<weighed>("weighed");
    return all;
  }
  template <class T>
  void note(std::vector<T>& list, T what) {
    const std::lock_guard lock(mutex_);
    list.push_back(std::move(what));
  }
  template <class T>
  std::vector<T> read(const std::vector<T>& list) const {
    const std::lock_guard lock(mutex_);
    return list;
  }

  bounded_system world_{std::chrono::seconds{10}};
  std::shared_ptr<network> carrier_;
  std::shared_ptr<remoting> post_;
  caf::actor keeper_, reader_;
  mutable std::mutex mutex_;
  std::vector<got> came_;
  std::vector<std::string> lost_, log_;
  std::vector<std::size_t> lost_when_broken_;
};

/// A tensor of the GPU that is still being computed.
tensor computed(stream& on, float value, std::int64_t count = 100) {
  const tensor host = make_host_tensor(dtype::float32, {count});
  std::fill_n(host.mutable_data<float>(), count, value / 2);
  const tensor x = on.to_device(host), y = on.allocate(dtype::float32, {count});
  on.scaled_add(2.0, x, 0.0, {}, y);
  return y;
}

struct linked_pair {
  explicit linked_pair(std::chrono::milliseconds arrive_within = long_enough)
      : a(1, arrive_within), b(2, arrive_within) {
    b.dial(a);
    REQUIRE(comes_true([&] { return a.is_linked() && b.is_linked(); }));
  }

  const variable library{"TROUPE_NCCL_LIBRARY", EMULATED_NCCL_LIBRARY};
  linked_node a, b;
  const std::unique_ptr<stream> on = find_device("cuda").make_stream({});
};

}  // namespace

TEST_CASE("tensors on a GPU arrive on a GPU, in the order of messages, without passing through the hosts") {
  if (!tests::emulated_failure())
    return;
  linked_pair nodes;
  auto& [library, a, b, on] = nodes;
  constexpr std::uint64_t count = 60;
  for (std::uint64_t i = 0; i < count; ++i)
    a.say(2, i, i % 3 == 0 ? make_host_tensor(dtype::float32, {1}) : computed(*on, static_cast<float>(i)));
  REQUIRE(comes_true([&] { return b.came().size() == count; }));
  const auto came = b.came();
  for (std::uint64_t i = 0; i < count; ++i) {
    CHECK(came[i].number == i);
    CHECK(came[i].device == (i % 3 == 0 ? "host" : "cuda:0"));
    if (i % 3 != 0)
      CHECK(came[i].first == static_cast<float>(i));
  }
  CHECK(a.post().counters().device_link_bytes_sent == count / 3 * 2 * 400);
  CHECK(a.lost().empty());
  CHECK(b.lost().empty());
}

TEST_CASE("a link that stalls is broken off in time, and who waited for it loses its sender") {
  if (!tests::emulated_failure())
    return;
  const variable fails("EMULATED_NCCL", "stalls-after-4");
  linked_pair nodes{std::chrono::milliseconds{500}};
  auto& [library, a, b, on] = nodes;
  for (std::uint64_t i = 0; i < 10; ++i)
    a.say(2, i, computed(*on, 1.0f));
  REQUIRE(comes_true([&] { return !b.lost().empty(); }));
  CHECK(b.lost().front().find("tensors did not come for 0.5 s") != std::string::npos);
  CHECK(b.came().size() < 10);
  REQUIRE(comes_true([&] { return !b.lost_when_broken().empty(); }));
  CHECK(b.lost_when_broken().front() == 1);  // those who have to know do not wait for the end of a channel
  on->synchronize();
  a.post().disconnect(2, "it was lost");  // in one process, the end of b's channel waits for that of a's
}

TEST_CASE("what is too large for a link takes the hosts' way, and its turn") {
  if (!tests::emulated_failure())
    return;
  linked_pair nodes;
  auto& [library, a, b, on] = nodes;
  constexpr std::uint64_t count = 12;
  constexpr std::int64_t large = (9 << 20) / sizeof(float);  // of 512 MiB
  for (std::uint64_t i = 0; i < count; ++i)
    a.say(2, i, computed(*on, static_cast<float>(i), i % 3 == 0 ? large : 100));
  REQUIRE(comes_true([&] { return b.came().size() == count; }));
  const auto came = b.came();
  for (std::uint64_t i = 0; i < count; ++i) {
    CHECK(came[i].number == i);
    CHECK(came[i].device == (i % 3 == 0 ? "host" : "cuda:0"));
    CHECK(came[i].first == static_cast<float>(i));
  }
  CHECK(a.lost().empty());
  CHECK(b.lost().empty());
}
