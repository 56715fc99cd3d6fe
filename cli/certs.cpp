#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "cli/cluster_access.hpp"
#include "cli/argument_checks.hpp"
#include "cli/command.hpp"
#include "runtime/error.hpp"
#include "runtime/transport/certificates.hpp"

namespace troupe {

namespace {

namespace fs = std::filesystem;

struct certs_options {
  std::string directory;
  unsigned nodes = 0;  ///< 0: one certificate that all nodes share
  int days = 365;
};

/// An authority outlives the certificates that it signs, whatever --days says.
constexpr std::chrono::days authority_valid{3650};
/// Clocks of nodes may be behind.
constexpr std::chrono::days valid_before{1};

std::chrono::sys_seconds now() { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }

std::string read(const fs::path& path) {
  std::ifstream file(path);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file)
    throw input_error(fmt::format("{}: cannot read: {}", path.string(), std::strerror(errno)));
  return text;
}

/// Calls `use`; what it says of a content is said of that file.
template <class Use>
auto naming(const fs::path& file, Use use) {
  try {
    return use();
  } catch (const input_error& fault) {
    throw input_error(fmt::format("{}: {}", file.string(), fault.what()));
  }
}

/// Never over another file.
void write(const fs::path& path, const std::string& text, mode_t mode) {
  const int file = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
  const bool written = file >= 0 && ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       ::fsync(file) == 0;
  const int fault = errno;
  if (file >= 0)
    ::close(file);
  if (!written)
    throw system_error(fmt::format("{}: cannot write: {}", path.string(), std::strerror(fault)));
}

void make_folder(const fs::path& path) {
  if (fs::create_directories(path))
    fs::permissions(path, fs::perms::owner_all);
}

/// A certificate with its key on disk.
struct file_pair {
  fs::path certificate, key;

  /// Whether it is there already, and stays as it is.
  bool keep() const {
    if (!fs::exists(certificate)) {
      if (fs::exists(key))
        throw input_error(fmt::format("{}: this is here without {}, and is not overwritten\nhelp: move it away",
                                      key.string(), certificate.filename().string()));
      return false;
    }
    const auto text = read(certificate);
    const auto until = naming(certificate, [&] { return end_of_validity(text); });
    if (until <= now())
      throw input_error(fmt::format("{}: this has expired, and is not overwritten\nhelp: move it and {} away to "
                                    "have new ones", certificate.string(), key.filename().string()));
    say("kept", until);
    return true;
  }

  /// The key first: a certificate is there only where its key is.
  void put(const certificate_and_key& made) const {
    write(key, made.key, 0600);
    write(certificate, made.certificate, 0644);
    say("made", end_of_validity(made.certificate));
  }

 private:
  void say(const char* what, std::chrono::sys_seconds until) const {
    fmt::print("{}  {}  valid until {:%Y-%m-%d}\n", what, certificate.string(),
               fmt::gmtime(std::chrono::system_clock::to_time_t(until)));
  }
};

void make_node(const fs::path& folder, const certificate_and_key& authority, std::chrono::days valid) {
  make_folder(folder);
  const auto files = tls_files_in(folder);
  if (!fs::exists(files.authority))
    write(files.authority, authority.certificate, 0644);
  else if (read(files.authority) != authority.certificate)
    throw input_error(fmt::format("{}: this is another authority's, and is not overwritten\nhelp: move {} away",
                                  files.authority.string(), folder.string()));
  const file_pair pair{files.certificate, files.key};
  if (pair.keep())
    return;
  if (authority.key.empty())
    throw input_error(fmt::format("{}: cannot be made: authority.key is not here\nhelp: make it where that is kept",
                                  files.certificate.string()));
  const auto until = std::min(now() + valid, end_of_validity(authority.certificate));
  pair.put(naming(folder, [&] { return make_node_certificate(authority, {now() - valid_before, until}); }));
}

exit_code make(const certs_options& options) {
  const fs::path folder = options.directory;
  make_folder(folder);
  const file_pair pair{tls_files_in(folder).authority, folder / "authority.key"};
  if (!pair.keep())
    pair.put(make_authority({now() - valid_before, now() + authority_valid}));
  const certificate_and_key authority{read(pair.certificate), fs::exists(pair.key) ? read(pair.key) : std::string()};
  const std::chrono::days valid{options.days};
  if (options.nodes == 0)
    make_node(folder, authority, valid);
  for (unsigned i = 1; i <= options.nodes; ++i)
    make_node(folder / fmt::format("node-{}", i), authority, valid);
  return exit_code::done;
}

constexpr auto footer = R"(Makes what is missing and overwrites nothing: run it again for more nodes, or after moving
expired files away.

  DIR/authority.pem   every node: who signed the nodes' certificates
  DIR/authority.key   none: whoever has it can make nodes; keep it at home
  DIR/node.pem        every node: its certificate
  DIR/node.key        every node, readable by its owner only

Give every process the folder that holds its authority.pem, node.pem and node.key: --tls DIR, or TROUPE_TLS. With
--nodes N there is one for each node, DIR/node-1 to DIR/node-N, to be copied as it is: the head is a node, too.
Links then show to each other that this authority has signed both sides' certificates, and that they have not expired.
Names and addresses of machines are not verified. A certificate cannot be revoked: where a key was lost, make a new
authority.)";

}  // namespace

void add_certs(CLI::App& app, action& chosen) {
  const auto options = std::make_shared<certs_options>();
  auto* command = app.add_subcommand("certs", "make the certificates with which nodes know each other over TLS");
  command->footer(footer);
  command->add_option("DIR", options->directory, "folder for them; made where it does not exist")->required();
  command->add_option("--nodes", options->nodes, "certificates of their own for so many nodes; default: one for all")
      ->transform(argument::whole(1, 10'000));
  command->add_option("--days", options->days, "that a node's certificate is valid; an authority is for 10 years")
      ->transform(argument::whole(1, 3650))
      ->capture_default_str();
  command->callback([&chosen, options] { chosen = [options] { return make(*options); }; });
}

}  // namespace troupe
