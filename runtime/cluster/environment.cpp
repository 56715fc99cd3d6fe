#include "runtime/cluster/environment.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>

#include <fmt/format.h>

#include "runtime/error.hpp"

namespace troupe {

namespace {

constexpr std::size_t host_bytes_max = 253;  // of a domain name

/// For messages: what a variable holds, in one short line.
std::string shown(std::string_view text) {
  std::string result(text.substr(0, 60));
  std::replace_if(result.begin(), result.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return result + (text.size() > 60 ? "..." : "");
}

bool is_host(std::string_view text) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_' || c == ':';
  };
  return !text.empty() && text.size() <= host_bytes_max && std::all_of(text.begin(), text.end(), fits);
}

class environment_reader {
 public:
  explicit environment_reader(const variable_lookup& lookup) : lookup_(lookup) {
    // nop
  }

  std::optional<std::string> text(const char* name) const {
    auto value = lookup_(name);
    return value && !value->empty() ? value : std::nullopt;
  }

  std::optional<std::uint32_t> number(const char* name, std::uint32_t first, std::uint32_t last) const {
    const auto value = text(name);
    if (!value)
      return std::nullopt;
    std::uint32_t result = 0;
    const char* end = value->data() + value->size();
    const auto [rest, error] = std::from_chars(value->data(), end, result);
    if (error != std::errc{} || rest != end || result < first || result > last)
      throw input_error(fmt::format("environment variable {} is '{}'; expected a whole number from {} to {}", name,
                                    shown(*value), first, last));
    return result;
  }

  std::optional<std::string> host(const char* name) const {
    auto value = text(name);
    if (value && !is_host(*value))
      throw input_error(fmt::format("environment variable {} is '{}'; expected the name or the address of a host",
                                    name, shown(*value)));
    return value;
  }

  std::optional<std::string> listed_host(const char* name) const {
    const auto value = text(name);
    try {
      return value ? std::optional(first_host(*value)) : std::nullopt;
    } catch (const input_error& fault) {
      throw input_error(fmt::format("environment variable {}: {}", name, fault.what()));
    }
  }

 private:
  const variable_lookup& lookup_;
};

std::string check_secret(std::string secret, std::string_view where) {
  if (secret.empty())
    throw input_error(fmt::format("{}: the secret is empty\nhelp: any text that strangers do not know will do", where));
  if (secret.size() > secret_bytes_max)
    throw input_error(fmt::format("{}: the secret is longer than {} bytes", where, secret_bytes_max));
  return secret;
}

}  // namespace

std::optional<std::string> environment_variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? std::optional<std::string>(value) : std::nullopt;
}

launch_environment read_launch_environment(const variable_lookup& lookup) {
  constexpr auto unbounded = std::numeric_limits<std::uint32_t>::max();
  const environment_reader variables(lookup);
  launch_environment result;

  auto host = variables.host("MASTER_ADDR");
  if (!host)
    host = variables.host("SLURM_LAUNCH_NODE_IPADDR");
  if (!host)
    host = variables.listed_host("SLURM_JOB_NODELIST");
  if (const auto given = variables.number("MASTER_PORT", 1, 65'535))
    result.port = static_cast<std::uint16_t>(*given);
  const auto port = result.port.value_or(default_port);
  if (host)
    result.head = host->find(':') == std::string::npos ? fmt::format("{}:{}", *host, port)
                                                       : fmt::format("[{}]:{}", *host, port);

  result.rank = variables.number("RANK", 0, unbounded - 1);
  if (!result.rank)
    result.rank = variables.number("SLURM_PROCID", 0, unbounded - 1);
  result.world_size = variables.number("WORLD_SIZE", 1, unbounded);
  if (!result.world_size)
    result.world_size = variables.number("SLURM_NTASKS", 1, unbounded);
  if (result.rank && result.world_size && *result.rank >= *result.world_size)
    throw input_error(fmt::format("environment: rank {} (RANK or SLURM_PROCID) in a world of {} (WORLD_SIZE or "
                                  "SLURM_NTASKS); ranks count from 0",
                                  *result.rank, *result.world_size));
  if (result.world_size) {
    const bool is_one_of_them = variables.text("RANK") || variables.text("SLURM_STEP_ID");
    result.nodes = *result.world_size - (is_one_of_them ? 1 : 0);
  }
  return result;
}

std::string first_host(std::string_view list) {
  const auto refuse = [&](std::string_view why) {
    return input_error(fmt::format("'{}' is no list of hosts: {}; expected one such as 'gpu[03-05,9],login'",
                                   shown(list), why));
  };
  std::string host;
  for (std::size_t at = 0; at < list.size() && list[at] != ','; ++at) {
    if (list[at] != '[') {
      host += list[at];
      continue;
    }
    const auto close = list.find(']', at);
    if (close == std::string_view::npos)
      throw refuse("a bracket is not closed");
    const auto numbers = list.substr(at + 1, close - at - 1);
    const auto first = numbers.substr(0, numbers.find_first_of(",-"));
    if (first.empty() || first.find_first_not_of("0123456789") != std::string_view::npos)
      throw refuse("there is no number behind a bracket");
    host += first;
    at = close;
  }
  if (!is_host(host))
    throw refuse(host.empty() ? "it names none" : "a name has a strange character");
  return host;
}

std::string read_secret_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  // One byte more than may be, and the line's end.
  std::string secret(secret_bytes_max + 3, '\0');
  stream.read(secret.data(), static_cast<std::streamsize>(secret.size()));
  if (!stream.is_open() || stream.bad())
    throw input_error(fmt::format("{}: cannot read the secret from this file: {}", file.string(),
                                  std::strerror(errno)));
  secret.resize(static_cast<std::size_t>(stream.gcount()));
  for (const auto end : {'\n', '\r'})
    if (secret.ends_with(end))
      secret.pop_back();
  return check_secret(std::move(secret), file.string());
}

std::optional<std::string> read_cluster_secret(const variable_lookup& lookup) {
  auto secret = lookup("TROUPE_SECRET");
  auto file = lookup("TROUPE_SECRET_FILE");
  if (file && file->empty())
    file.reset();  // as a parent unsets it
  if (secret && file)
    throw input_error("environment variables TROUPE_SECRET and TROUPE_SECRET_FILE are both set; expected one of them");
  if (secret)
    return check_secret(std::move(*secret), "environment variable TROUPE_SECRET");
  if (file)
    return read_secret_file(*file);
  return std::nullopt;
}

}  // namespace troupe
