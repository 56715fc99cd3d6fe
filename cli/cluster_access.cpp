#include "cli/cluster_access.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/command.hpp"
#include "models/data/utf8.hpp"
#include "runtime/cluster/build_id.hpp"
#include "runtime/error.hpp"
#include "runtime/transport/tcp_network.hpp"

namespace troupe {

namespace {

constexpr auto cluster_file_name = "cluster.json";

}  // namespace

std::string to_string(const endpoint_parts& parts) {
  return parts.host.find(':') == std::string::npos ? fmt::format("{}:{}", parts.host, parts.port)
                                                   : fmt::format("[{}]:{}", parts.host, parts.port);
}

endpoint_parts parse_endpoint(const std::string& text, const std::string& option, std::uint16_t port) {
  endpoint_parts parts{"127.0.0.1", port};
  const auto colon = text.rfind(':');
  const bool bare_v6 = colon != text.find(':') && !text.starts_with('[');
  const bool has_port = colon != std::string::npos && !bare_v6 && !(text.starts_with('[') && text.ends_with(']'));
  auto host = has_port ? text.substr(0, colon) : text;
  if (host.starts_with('[') && host.ends_with(']'))
    host = host.substr(1, host.size() - 2);
  if (!host.empty())
    parts.host = host;
  if (has_port) {
    const auto* last = text.data() + text.size();
    const auto [end, fault] = std::from_chars(text.data() + colon + 1, last, parts.port);
    if (fault != std::errc{} || end != last)
      throw usage_error(fmt::format("{} '{}': '{}' is no port\nhelp: write HOST:PORT, such as 127.0.0.1:{}", option,
                                    text, text.substr(colon + 1), default_port));
  }
  return parts;
}

void access_options::add_to(CLI::App& command) {
  command.add_option("--secret-file", secret_file,
                     "holds the cluster's secret; default: TROUPE_SECRET, or the file that TROUPE_SECRET_FILE names");
  command.add_option("--tls", tls,
                     "folder with authority.pem, node.pem and node.key (see `troupe certs`): links are encrypted; "
                     "default: TROUPE_TLS");
}

cluster_access access_options::find() const {
  cluster_access out;
  out.secret = secret_file.empty() ? read_cluster_secret().value_or("") : read_secret_file(secret_file);
  out.tls = tls.empty() ? environment_variable("TROUPE_TLS").value_or("") : tls;
  const auto name = out.tls.string();
  if (utf8::first_invalid(name) < name.size())  // a run's cluster.json tells others where it is
    throw usage_error(fmt::format("--tls {}: the folder's name is not UTF-8\nhelp: choose another",
                                  utf8::repaired(name)));
  out.insecure = insecure;
  return out;
}

tls_options tls_files_in(const std::filesystem::path& folder) {
  return {folder / "authority.pem", folder / "node.pem", folder / "node.key"};
}

std::string draw_secret() {
  unsigned char bytes[32];
  if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
    throw system_error(fmt::format("cannot draw a secret: {}", std::strerror(errno)));
  std::string text;
  for (const auto byte : bytes)
    text += fmt::format("{:02x}", byte);
  return text;
}

std::shared_ptr<network> listen_on(const endpoint_parts& where, const cluster_access& access,
                                   const std::string& advertised,
                                   std::function<void(const std::string&)> on_turned_away) {
  if (!where.loopback() && access.secret.empty())
    throw usage_error(fmt::format("listening on {} without a secret would let anybody in\nhelp: give all processes the "
                                  "same TROUPE_SECRET, or --secret-file; or listen on 127.0.0.1",
                                  where.host));
  if (!where.loopback() && access.tls.empty() && !access.insecure)
    throw usage_error(fmt::format("listening on {} without TLS would show all that is sent to whoever is on the way\n"
                                  "help: `troupe certs DIR` makes certificates, which --tls DIR or TROUPE_TLS gives to "
                                  "all processes; or --insecure, on a network that you trust; or listen on 127.0.0.1",
                                  where.host));
  tcp_options options;
  options.bind_address = where.host == "localhost" ? "127.0.0.1" : where.host;
  options.port = where.port;
  options.advertised_host = advertised;
  options.secret = access.secret;
  if (!access.tls.empty())
    options.tls = tls_files_in(access.tls);
  options.build = build_id();
  options.on_turned_away = std::move(on_turned_away);
  return make_tcp_network(std::move(options));
}

std::string own_address_towards(const endpoint_parts& other) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;  // to connect such a socket sends nothing
  addrinfo* found = nullptr;
  if (getaddrinfo(other.host.c_str(), std::to_string(other.port).c_str(), &hints, &found) != 0)
    return {};
  std::string result;
  for (const auto* each = found; each && result.empty(); each = each->ai_next) {
    const int probe = socket(each->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_storage own{};
    socklen_t size = sizeof own;
    char text[NI_MAXHOST];
    auto* const address = reinterpret_cast<sockaddr*>(&own);
    if (probe >= 0 && connect(probe, each->ai_addr, each->ai_addrlen) == 0 && getsockname(probe, address, &size) == 0 &&
        getnameinfo(address, size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0)
      result = text;
    if (probe >= 0)
      close(probe);
  }
  freeaddrinfo(found);
  return result;
}

std::filesystem::path cluster_file::path_in(const std::filesystem::path& run_directory) {
  return run_directory / cluster_file_name;
}

void cluster_file::write(const std::filesystem::path& run_directory) const {
  const auto path = path_in(run_directory);
  std::filesystem::remove(path);
  const int descriptor = open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  const auto text = nlohmann::json{{"endpoint", endpoint}, {"secret", secret}, {"tls", tls}}.dump() + "\n";
  const bool written = descriptor >= 0 && ::write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int fault = errno;
  if (descriptor >= 0)
    close(descriptor);
  if (!written)
    throw system_error(fmt::format("{}: cannot write: {}", path.string(), std::strerror(fault)));
}

std::optional<cluster_file> cluster_file::read(const std::filesystem::path& run_directory) {
  std::ifstream in(path_in(run_directory));
  const auto found = nlohmann::json::parse(in, nullptr, false);
  if (!found.is_object() || !found.contains("endpoint") || !found["endpoint"].is_string())
    return {};
  const auto text = [&](const char* key) {
    const auto value = found.find(key);
    return value != found.end() && value->is_string() ? value->get<std::string>() : std::string{};
  };
  return cluster_file{text("endpoint"), text("secret"), text("tls")};
}

void cluster_file::remove(const std::filesystem::path& run_directory) const {
  if (const auto there = read(run_directory); there && there->endpoint != endpoint)
    return;
  std::error_code ignored;
  std::filesystem::remove(path_in(run_directory), ignored);
}

}  // namespace troupe
