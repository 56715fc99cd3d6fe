#pragma once

/// How two nodes find out, before anything else is said, that they speak the same protocol, run the same build and know
/// the same secret. A machine without input or output of its own: bytes go in, bytes come out. README.md tells what
/// they look like.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/error.hpp"
#include "runtime/transport/network.hpp"

namespace troupe {

/// Raised by whatever changes a frame, an envelope or what follows the hello. The hello itself never changes, so that
/// any two versions understand why they do not understand each other.
inline constexpr std::uint32_t tcp_protocol_version = 1;

inline constexpr std::size_t build_bytes_max = 80;
inline constexpr std::size_t introduction_bytes_max = 64 * 1024;
inline constexpr std::size_t reply_bytes_max = std::size_t{16} << 20;  ///< of a reply's text, which may be a long status

/// What a hello begins with.
inline constexpr std::string_view hello_magic = "TROUPE\r\n";

/// For people, where the other side has gone before the end of it.
inline constexpr auto handshake_cut_off =
    "the connection ended during the handshake; is it a Troupe node's, and not overloaded?";

struct handshake_identity {
  std::string secret{};
  std::string build{};
  std::uint32_t version = tcp_protocol_version;
};

/// The other side is not one of ours.
class handshake_error : public input_error {
 public:
  handshake_error(const std::string& text, bool is_refusal) : input_error(text), refusal(is_refusal) {}

  /// It speaks our protocol and yet we cannot go together: people should hear of it. Otherwise it is a stranger.
  bool refusal;
};

class handshake {
 public:
  enum class role : std::uint8_t { dialer = 1, acceptor = 2 };
  using nonce = std::array<std::byte, 32>;

  /// The dialer brings its introduction. Throws std::length_error where a text is too long.
  handshake(role mine, const handshake_identity& me, std::string introduction);
  /// With a given nonce in place of a random one, so that a test or a fuzzer repeats.
  handshake(role mine, const handshake_identity& me, std::string introduction, const nonce& number);

  /// Takes what it understands from the front and tells how much that was. The rest is to be offered again with what
  /// comes after it, or, where the handshake is over, is no part of it. Throws handshake_error; `output` is to be sent
  /// even then.
  std::size_t take(std::span<const std::byte> input);

  /// What is to be sent, once.
  std::vector<std::byte> output();

  /// Whether the other side has proved to know the secret.
  bool authenticated() const noexcept { return authenticated_; }

  /// Of an acceptor: what the dialer says, once it has come. It is for `answer` to end the handshake.
  const std::optional<std::string>& introduction() const noexcept { return received_introduction_; }
  static std::vector<std::byte> answer(const introduction_reply& reply);

  /// Of a dialer: the answer, once it has come.
  const std::optional<introduction_reply>& reply() const noexcept { return reply_; }

 private:
  static constexpr std::size_t hello_bytes = 128;
  static constexpr std::size_t proof_bytes = 32;

  enum class message : std::uint32_t { proof = 1, proof_rejected = 2, introduction = 3, accepted = 4, refused = 5 };

  bool is_over() const noexcept { return received_introduction_ || reply_; }
  void read_hello(std::span<const std::byte> bytes);
  void read_message(message what, std::span<const std::byte> content);
  std::size_t size_max(message what) const;
  void put(message what, std::span<const std::byte> content);
  std::array<std::byte, proof_bytes> proof_of(role who) const;

  role mine_;
  handshake_identity me_;
  std::string introduction_;
  std::array<std::byte, hello_bytes> my_hello_{};
  std::optional<std::array<std::byte, hello_bytes>> their_hello_;
  bool authenticated_ = false;
  std::optional<std::string> received_introduction_;
  std::optional<introduction_reply> reply_;
  std::vector<std::byte> output_;
};

}  // namespace troupe
