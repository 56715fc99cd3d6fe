#include "runtime/transport/tls_stream.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "runtime/error.hpp"
#include "runtime/transport/handshake.hpp"
#include "runtime/transport/openssl_error.hpp"

namespace troupe {

namespace {

constexpr std::size_t record_bytes = SSL3_RT_MAX_PLAIN_LENGTH;
/// What a record may become, with a message before it that changes keys.
constexpr std::size_t encrypted_record_bytes = record_bytes + 512;
/// Of encrypted bytes, each way: enough that calls to the system are few, little enough for a processor's cache.
constexpr std::size_t buffer_bytes = 8 * encrypted_record_bytes;
/// Of a peer that has not shown who it is. Certificates of ours take less than two.
constexpr std::size_t handshake_bytes_max = 64 * 1024;

/// An alert as TLS has it, which also a node without TLS takes for one (handshake.cpp).
constexpr unsigned char wrong_protocol[] = {21, 3, 3, 0, 2, 2, 70};

tls_stream& self_of(BIO* bio) { return *static_cast<tls_stream*>(BIO_get_data(bio)); }

long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

}  // namespace

void tls_stream::release::operator()(SSL* state) const noexcept { SSL_free(state); }

BIO* tls_stream::make_bio(tls_stream& self) {
  static BIO_METHOD* const method = [] {
    auto* const out = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "troupe");
    if (out != nullptr) {
      BIO_meth_set_read_ex(out, on_read);
      BIO_meth_set_write_ex(out, on_write);
      BIO_meth_set_ctrl(out, control);
    }
    return out;
  }();
  auto* const out = method != nullptr ? BIO_new(method) : nullptr;
  if (out == nullptr)
    throw std::bad_alloc();
  BIO_set_data(out, &self);
  BIO_set_init(out, 1);
  return out;
}

int tls_stream::on_read(BIO* bio, char* to, std::size_t size, std::size_t* read) {
  auto& self = self_of(bio);
  BIO_clear_retry_flags(bio);
  *read = std::min(size, self.in_end_ - self.in_begin_);
  if (*read == 0) {
    BIO_set_retry_read(bio);
    return 0;
  }
  std::memcpy(to, self.in_.get() + self.in_begin_, *read);
  self.in_begin_ += *read;
  return 1;
}

int tls_stream::on_write(BIO* bio, const char* from, std::size_t size, std::size_t* written) {
  auto& self = self_of(bio);
  BIO_clear_retry_flags(bio);
  *written = std::min(size, buffer_bytes - self.out_end_);
  if (*written == 0) {
    BIO_set_retry_write(bio);
    return 0;
  }
  std::memcpy(self.out_.get() + self.out_end_, from, *written);
  self.out_end_ += *written;
  return 1;
}

tls_stream::tls_stream(const tls_context& context, std::shared_ptr<const descriptor> socket, bool accepts)
    : socket_(std::move(socket)),
      records_per_key_(context.records_per_key()),
      // Pages of them that are not used cost nothing: most strangers use few.
      in_(std::make_unique_for_overwrite<std::byte[]>(buffer_bytes)),
      out_(std::make_unique_for_overwrite<std::byte[]>(buffer_bytes)),
      state_(SSL_new(context.get())) {
  if (!state_)
    throw std::bad_alloc();
  auto* const bio = make_bio(*this);
  SSL_set_bio(state_.get(), bio, bio);
  if (accepts)
    SSL_set_accept_state(state_.get());
  else
    SSL_set_connect_state(state_.get());
}

// -- reading -------------------------------------------------------------------

/// Reads from the socket. REQUIRES: OpenSSL has taken all there was.
ssize_t tls_stream::refill() {
  const auto bytes = ::recv(socket_->get(), in_.get(), buffer_bytes, MSG_DONTWAIT);
  if (bytes > 0) {
    const std::lock_guard held(mutex_);
    in_begin_ = 0;
    in_end_ = static_cast<std::size_t>(bytes);
  }
  return bytes;
}

bool tls_stream::secure() {
  while (!secured_) {
    {
      const std::lock_guard held(mutex_);
      ERR_clear_error();
      const auto result = SSL_do_handshake(state_.get());
      if (result == 1) {
        secured_ = true;
        dry_ = false;
        break;
      }
      if (SSL_get_error(state_.get(), result) != SSL_ERROR_WANT_READ)
        throw explain();
    }
    const auto bytes = refill();
    if (bytes < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
      return false;
    if (bytes <= 0)
      throw handshake_error(handshake_cut_off, false);
    handshake_bytes_ += static_cast<std::size_t>(bytes);
    if (handshake_bytes_ > handshake_bytes_max)
      throw handshake_error(fmt::format("the other side's TLS handshake has more than {} bytes", handshake_bytes_max),
                            false);
  }
  return true;
}

/// Why OpenSSL gave up, for people. REQUIRES: the lock is held.
handshake_error tls_stream::explain() {
  mute_ = true;
  const auto reason = ERR_GET_REASON(ERR_peek_last_error());
  const auto verdict = SSL_get_verify_result(state_.get());
  const auto text = take_openssl_error();
  switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
      if (verdict == X509_V_ERR_CERT_HAS_EXPIRED)
        return {"the other side's certificate has expired; `troupe certs` makes new ones", true};
      if (verdict == X509_V_ERR_CERT_NOT_YET_VALID)
        return {"the other side's certificate is not valid yet; are the clocks right?", true};
      return {fmt::format("the other side's certificate is not one of this cluster's authority ({})",
                          X509_verify_cert_error_string(verdict)), true};
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return {"the other side has no certificate; give all nodes those of one authority", true};
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
      return {"the other side asks for a certificate, and this side has none", true};
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
      return {"the other side says that this side's certificate has expired; `troupe certs` makes new ones", true};
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
      return {fmt::format("the other side says that this side's certificate is not one of its cluster's authority ({})",
                          text), true};
    default:
      break;
  }
  const std::string_view first(reinterpret_cast<const char*>(in_.get()), std::min(in_end_, hello_magic.size()));
  if (!secured_ && !first.empty() && hello_magic.starts_with(first)) {
    std::memcpy(out_.get() + out_end_, wrong_protocol, sizeof(wrong_protocol));
    out_end_ += sizeof(wrong_protocol);
    return {"the other side is a Troupe node without TLS, which this side has; give it to all nodes, or to none", true};
  }
  return {fmt::format("the other side does not speak TLS as a Troupe node does ({})", text), false};
}

ssize_t tls_stream::receive(std::span<const iovec> room) {
  if (failure_)
    throw *failure_;
  for (;;) {
    if (dry_) {
      const auto bytes = refill();
      if (bytes <= 0)
        return bytes;
      dry_ = false;
    }
    std::size_t total = 0;
    const auto found = fill(room, total);
    // An end or a failure behind what was found is found again by the next call.
    if (total > 0 || found == finding::end)
      return static_cast<ssize_t>(total);
    if (found == finding::failure)
      throw *failure_;
  }
}

tls_stream::finding tls_stream::fill(std::span<const iovec> room, std::size_t& total) {
  for (const auto& piece : room)
    for (std::size_t filled = 0; filled < piece.iov_len;) {
      std::size_t bytes = 0;
      const auto found = decrypt(static_cast<std::byte*>(piece.iov_base) + filled, piece.iov_len - filled, bytes);
      filled += bytes;
      total += bytes;
      if (found == finding::bytes)
        continue;
      dry_ = found == finding::nothing;
      return found;
    }
  return finding::bytes;
}

tls_stream::finding tls_stream::decrypt(std::byte* to, std::size_t size, std::size_t& bytes) {
  const std::lock_guard held(mutex_);
  ERR_clear_error();
  if (SSL_read_ex(state_.get(), to, size, &bytes) == 1)
    return finding::bytes;
  switch (SSL_get_error(state_.get(), 0)) {
    case SSL_ERROR_WANT_READ:
      return finding::nothing;
    case SSL_ERROR_ZERO_RETURN:
      return finding::end;
    default:
      // Also a refused certificate: a dialer is done with TLS before the acceptor has looked at what it sent.
      failure_.emplace(explain());
      return finding::failure;
  }
}

// -- writing -------------------------------------------------------------------

ssize_t tls_stream::send(std::span<const iovec> pieces) {
  std::size_t taken = 0;
  for (std::size_t offset = 0;;) {
    while (!pieces.empty() && has_room_for_record()) {
      const auto& piece = pieces.front();
      const auto bytes = encrypt(static_cast<const std::byte*>(piece.iov_base) + offset, piece.iov_len - offset);
      if (bytes == 0) {
        errno = EPROTO;  // the reader knows more
        return taken > 0 ? static_cast<ssize_t>(taken) : -1;
      }
      taken += bytes;
      offset += bytes;
      if (offset == piece.iov_len) {
        pieces = pieces.subspan(1);
        offset = 0;
      }
    }
    if (!flush())
      return taken > 0 ? static_cast<ssize_t>(taken) : -1;
    if (pieces.empty())
      return static_cast<ssize_t>(taken);
  }
}

bool tls_stream::has_room_for_record() const {
  const std::lock_guard held(mutex_);
  return buffer_bytes - out_end_ >= encrypted_record_bytes;
}

/// One record; how many bytes it holds, 0 where that fails. REQUIRES: there is room for one, so that OpenSSL never has
/// to wait in the midst of it.
std::size_t tls_stream::encrypt(const std::byte* from, std::size_t size) {
  const std::lock_guard held(mutex_);
  ERR_clear_error();
  if (mute_)
    return 0;
  if (records_++ == records_per_key_) {
    records_ = 1;
    SSL_key_update(state_.get(), SSL_KEY_UPDATE_NOT_REQUESTED);
  }
  std::size_t bytes = 0;
  return SSL_write_ex(state_.get(), from, std::min(size, record_bytes), &bytes) == 1 ? bytes : 0;
}

/// Sends what is encrypted; whether all of it has left. Otherwise errno tells why.
bool tls_stream::flush() {
  for (;;) {
    std::size_t begin = 0, end = 0;
    {
      const std::lock_guard held(mutex_);
      if (out_begin_ == out_end_) {
        out_begin_ = out_end_ = 0;
        return true;
      }
      begin = out_begin_;
      end = out_end_;
    }
    const auto bytes = ::send(socket_->get(), out_.get() + begin, end - begin, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (bytes < 0 && errno == EINTR)
      continue;
    if (bytes < 0)
      return false;
    const std::lock_guard held(mutex_);
    out_begin_ += static_cast<std::size_t>(bytes);
  }
}

bool tls_stream::holds_output() const {
  const std::lock_guard held(mutex_);
  return out_begin_ < out_end_;
}

bool tls_stream::finish() {
  {
    const std::lock_guard held(mutex_);
    ERR_clear_error();
    // Says that this is the end, and not a connection that somebody cut.
    if (!std::exchange(mute_, true) && SSL_is_init_finished(state_.get()))
      SSL_shutdown(state_.get());
  }
  if (!flush() && (errno == EAGAIN || errno == EWOULDBLOCK))
    return false;
  ::shutdown(socket_->get(), SHUT_WR);
  return true;
}

}  // namespace troupe
