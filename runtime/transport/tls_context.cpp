#include "runtime/transport/tls_context.hpp"

#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include "runtime/error.hpp"
#include "runtime/transport/openssl_error.hpp"

namespace troupe {

namespace {

constexpr long certificates_bytes_max = 32 * 1024;  // of a peer

void require(int success, const char* what) {
  if (success != 1)
    throw system_error(fmt::format("OpenSSL {}: {}", what, take_openssl_error()));
}

/// OpenSSL's own messages name no file.
void check_readable(const std::filesystem::path& file) {
  if (::access(file.c_str(), R_OK) != 0)
    throw input_error(fmt::format("{}: cannot read: {}\nhelp: `troupe certs DIR` makes the files that TLS needs",
                                  file.string(), std::strerror(errno)));
}

void require_file(int success, const std::filesystem::path& file, const char* expected) {
  if (success != 1)
    throw input_error(fmt::format("{}: expected {}: {}", file.string(), expected, take_openssl_error()));
}

/// A node starts without people who could be asked.
int no_passphrase(char*, int, int, void*) { return -1; }

}  // namespace

void tls_context::release::operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }

tls_context::tls_context(const tls_options& options)
    : context_(SSL_CTX_new(TLS_method())), records_per_key_(options.records_per_key) {
  auto* const context = context_.get();
  require(context != nullptr, "has no TLS");
  require(SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION), "has no TLS 1.3");
  require(SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"), "has no AES-GCM");
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_max_cert_list(context, certificates_bytes_max);
  // A session that is resumed would be one whose certificate is not looked at again.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
  require(SSL_CTX_set_num_tickets(context, 0), "insists on tickets");
  SSL_CTX_set_default_passwd_cb(context, no_passphrase);

  for (const auto* file : {&options.authority, &options.certificate, &options.key})
    check_readable(*file);
  ERR_clear_error();
  require_file(SSL_CTX_load_verify_file(context, options.authority.c_str()), options.authority,
               "an authority's certificate");
  require_file(SSL_CTX_use_certificate_chain_file(context, options.certificate.c_str()), options.certificate,
               "a node's certificate");
  require_file(SSL_CTX_use_PrivateKey_file(context, options.key.c_str(), SSL_FILETYPE_PEM), options.key,
               "the key of the node's certificate, without a passphrase");
}

tls_context::~tls_context() = default;

}  // namespace troupe
