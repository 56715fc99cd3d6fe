#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <optional>
#include <stdexcept>

#include "runtime/transport/certificates.hpp"
#include "runtime/transport/tcp_network.hpp"
#include "tests/bench/transport/contestant.hpp"
#include "tests/scratch_folder.hpp"

namespace troupe::bench {

namespace {

/// Both processes are one node's, with one certificate in a folder that the listening one makes.
tls_options files_in(const std::filesystem::path& folder) {
  return {folder / "authority.pem", folder / "node.pem", folder / "node.key"};
}

void make_files(const std::filesystem::path& folder) {
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  const validity valid{now - std::chrono::hours{1}, now + std::chrono::hours{1}};
  const auto authority = make_authority(valid);
  const auto node = make_node_certificate(authority, valid);
  const auto files = files_in(folder);
  std::ofstream(files.authority) << authority.certificate;
  std::ofstream(files.certificate) << node.certificate;
  std::ofstream(files.key) << node.key;
}

class troupe_contestant final : public contestant {
 public:
  explicit troupe_contestant(bool encrypts) : encrypts_(encrypts) {}

  std::string listen() override {
    if (encrypts_) {
      folder_.emplace();
      make_files(folder_->path());
    }
    start(folder_ ? folder_->path() : "");
    return network_->endpoint() + " " + (folder_ ? folder_->path().string() : "");
  }

  void connect(const std::string& place) override {
    const auto space = place.find(' ');
    const auto where = place.substr(0, space);
    start(place.substr(space + 1));
    std::promise<dial_result> result;
    network_->dial(where, "bench", [&](dial_result r) {
      link_ = r.link;
      result.set_value(std::move(r));
    });
    if (const auto r = result.get_future().get(); r.link == 0)
      throw std::runtime_error(r.text);
  }

  void send(control message) override {
    parcel out{{1, "bench/1", 1}, {0, "bench/0", 1}, "control", {}, {}};
    out.body.resize(sizeof(message));
    std::memcpy(out.body.data(), &message, sizeof(message));
    network_->send(link_, std::move(out));
  }

  void send_bulk() override {
    network_->send(link_, {{1, "bench/1", 1}, {0, "bench/0", 1}, "bulk", {}, {sources_[next_++ % sources_.size()]}});
  }

 private:
  void start(const std::filesystem::path& folder) {
    tcp_options options{.window_bytes = 64 << 20};
    if (encrypts_)
      options.tls = files_in(folder);
    network_ = make_tcp_network(std::move(options));
    network_->start({[this](link_id link, const std::string&) {
                       link_ = link;
                       return introduction_reply{true, {}, false};
                     },
                     [this](link_id, parcel message) {
                       if (!message.tensors.empty())
                         return on_bulk();
                       control out;
                       std::memcpy(&out, message.body.data(), sizeof(out));
                       on_control(out);
                     },
                     [](link_id, const std::string&) {}});
  }

  const std::vector<tensor> sources_ = make_sources();
  std::size_t next_ = 0;
  link_id link_ = 0;
  const bool encrypts_;
  std::optional<scratch_folder> folder_;
  std::unique_ptr<network> network_;
};

}  // namespace

std::unique_ptr<contestant> make_troupe() { return std::make_unique<troupe_contestant>(false); }
std::unique_ptr<contestant> make_troupe_tls() { return std::make_unique<troupe_contestant>(true); }

}  // namespace troupe::bench
