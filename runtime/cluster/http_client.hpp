#pragma once

/// Just enough of an HTTP/1.1 client to ask a metadata service: one request a connection, in bounded time and memory.

#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace troupe {

struct http_request {
  std::string method = "GET";
  std::string path;  ///< after the URL's own
  std::vector<std::pair<std::string, std::string>> headers;
};

struct http_response {
  int status = 0;
  std::string body;
};

class http_client {
 public:
  /// Of the head, and of the body; a longer response is refused.
  static constexpr std::size_t response_bytes_max = 64 * 1024;

  /// "http://HOST[:PORT][/PATH]". A name is resolved here, once. Throws input_error where the URL is none or its host
  /// is unknown.
  explicit http_client(const std::string& url);

  /// Throws system_error saying what went wrong: nobody answers, not in time, too much, or not HTTP. Gives up at once
  /// when `cancel`, a descriptor, becomes readable.
  http_response call(const http_request& request, std::chrono::milliseconds within, int cancel) const;

 private:
  std::string url_;
  std::string authority_;
  std::string path_;
  sockaddr_storage address_{};
  socklen_t address_bytes_ = 0;
};

}  // namespace troupe
