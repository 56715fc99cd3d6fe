#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "runtime/transport/byte_stream.hpp"
#include "runtime/transport/handshake.hpp"
#include "runtime/transport/tls_context.hpp"

using BIO = struct bio_st;
using SSL = struct ssl_st;

namespace troupe {

/// Encrypted, and authenticated on both sides.
///
/// OpenSSL's state of a connection is one for both directions, and not for two threads at once. So it never touches
/// the socket, but two buffers of encrypted bytes, and a lock is held only while one record is encrypted or decrypted:
/// reader and writer call the system, which takes most of the time, side by side.
class tls_stream final : public byte_stream {
 public:
  tls_stream(const tls_context& context, std::shared_ptr<const descriptor> socket, bool accepts);

  bool secure() override;
  ssize_t receive(std::span<const iovec> room) override;
  bool holds_input() const override { return secured_ && !dry_; }
  ssize_t send(std::span<const iovec> pieces) override;
  bool holds_output() const override;
  bool finish() override;

 private:
  struct release {
    void operator()(SSL* state) const noexcept;
  };
  enum class finding : std::uint8_t { bytes, nothing, end, failure };

  ssize_t refill();
  handshake_error explain();
  finding fill(std::span<const iovec> room, std::size_t& total);
  finding decrypt(std::byte* to, std::size_t size, std::size_t& bytes);
  bool has_room_for_record() const;
  std::size_t encrypt(const std::byte* from, std::size_t size);
  bool flush();

  /// What OpenSSL has in place of a socket.
  static BIO* make_bio(tls_stream& self);
  static int on_read(BIO* bio, char* to, std::size_t size, std::size_t* read);
  static int on_write(BIO* bio, const char* from, std::size_t size, std::size_t* written);

  const std::shared_ptr<const descriptor> socket_;
  const std::uint64_t records_per_key_;

  // -- of who reads --------------------------------------------------------------
  bool secured_ = false;
  bool dry_ = true;                   ///< a record needs more bytes than were read from the socket
  std::size_t handshake_bytes_ = 0;
  std::optional<handshake_error> failure_;
  std::unique_ptr<std::byte[]> in_;

  // -- of who writes -------------------------------------------------------------
  std::uint64_t records_ = 0;         ///< under the current key
  std::unique_ptr<std::byte[]> out_;  ///< before `out_end_` it is sent, behind it filled, under the lock

  mutable std::mutex mutex_;          ///< for the rest
  std::size_t in_begin_ = 0, in_end_ = 0;
  std::size_t out_begin_ = 0, out_end_ = 0;
  bool mute_ = false;                 ///< nothing more is to be encrypted
  std::unique_ptr<SSL, release> state_;
};

}  // namespace troupe
