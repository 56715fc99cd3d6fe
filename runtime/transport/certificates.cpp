#include "runtime/transport/certificates.hpp"

#include <array>
#include <ctime>
#include <memory>

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "runtime/error.hpp"
#include "runtime/transport/openssl_error.hpp"

namespace troupe {

namespace {

template <auto release>
struct released_by {
  template <class T>
  void operator()(T* what) const noexcept {
    release(what);
  }
};
using owned_certificate = std::unique_ptr<X509, released_by<X509_free>>;
using owned_key = std::unique_ptr<EVP_PKEY, released_by<EVP_PKEY_free>>;
using owned_extension = std::unique_ptr<X509_EXTENSION, released_by<X509_EXTENSION_free>>;
using owned_bio = std::unique_ptr<BIO, released_by<BIO_vfree>>;

template <class T>
T require(T result) {
  if (!result)
    throw system_error(fmt::format("OpenSSL cannot make a certificate: {}", take_openssl_error()));
  return result;
}

template <class Write>
std::string written(Write write) {
  const owned_bio bio(require(BIO_new(BIO_s_mem())));
  require(write(bio.get()));
  char* data = nullptr;
  const auto size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

owned_bio reader_of(const std::string& text) {
  return owned_bio(require(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))));
}

owned_certificate read_certificate(const std::string& text) {
  owned_certificate out(PEM_read_bio_X509(reader_of(text).get(), nullptr, nullptr, nullptr));
  if (!out)
    throw input_error(fmt::format("this is no certificate in PEM: {}", take_openssl_error()));
  return out;
}

owned_key read_key(const std::string& text) {
  // Nobody is there to be asked for a passphrase.
  const auto none = [](char*, int, int, void*) { return -1; };
  owned_key out(PEM_read_bio_PrivateKey(reader_of(text).get(), nullptr, none, nullptr));
  if (!out)
    throw input_error(fmt::format("this is no key in PEM without a passphrase: {}", take_openssl_error()));
  return out;
}

std::array<unsigned char, 16> draw() {
  std::array<unsigned char, 16> out;
  require(RAND_bytes(out.data(), out.size()) == 1);
  return out;
}

void extend(X509* certificate, X509* issuer, int what, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const owned_extension extension(require(X509V3_EXT_conf_nid(nullptr, &context, what, value)));
  require(X509_add_ext(certificate, extension.get(), -1));
}

owned_certificate begin_certificate(EVP_PKEY* key, const std::string& name, const validity& valid) {
  owned_certificate out(require(X509_new()));
  require(X509_set_version(out.get(), X509_VERSION_3));
  auto number = draw();
  number[0] = static_cast<unsigned char>((number[0] & 0x7f) | 0x40);  // positive, and of full length
  const std::unique_ptr<BIGNUM, released_by<BN_free>> serial(require(BN_bin2bn(number.data(), number.size(), nullptr)));
  require(BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(out.get())));
  const auto set = [](ASN1_TIME* to, std::chrono::sys_seconds when) {
    require(ASN1_TIME_adj(to, static_cast<std::time_t>(when.time_since_epoch().count()), 0, 0));
  };
  set(X509_getm_notBefore(out.get()), valid.from);
  set(X509_getm_notAfter(out.get()), valid.until);
  require(X509_NAME_add_entry_by_txt(X509_get_subject_name(out.get()), "CN", MBSTRING_UTF8,
                                     reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0));
  require(X509_set_pubkey(out.get(), key));
  return out;
}

certificate_and_key finish(const owned_certificate& certificate, const owned_key& key, EVP_PKEY* signer) {
  require(X509_sign(certificate.get(), signer, EVP_sha256()));
  return {written([&](BIO* to) { return PEM_write_bio_X509(to, certificate.get()); }),
          written([&](BIO* to) {
            return PEM_write_bio_PrivateKey(to, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
          })};
}

owned_key make_key() { return owned_key(require(EVP_EC_gen("P-256"))); }

}  // namespace

certificate_and_key make_authority(const validity& valid) {
  const auto key = make_key();
  // A name of its own, so that messages tell authorities apart.
  const auto id = draw();
  const auto out = begin_certificate(key.get(), fmt::format("Troupe authority {:02x}{:02x}{:02x}{:02x}", id[0], id[1],
                                                            id[2], id[3]), valid);
  auto* const self = out.get();
  require(X509_set_issuer_name(self, X509_get_subject_name(self)));
  extend(self, self, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  extend(self, self, NID_key_usage, "critical,keyCertSign");
  extend(self, self, NID_subject_key_identifier, "hash");
  return finish(out, key, key.get());
}

certificate_and_key make_node_certificate(const certificate_and_key& authority, const validity& valid) {
  const auto issuer = read_certificate(authority.certificate);
  const auto issuer_key = read_key(authority.key);
  if (X509_check_private_key(issuer.get(), issuer_key.get()) != 1)
    throw input_error(fmt::format("the authority's key is not that of its certificate: {}", take_openssl_error()));
  const auto key = make_key();
  const auto out = begin_certificate(key.get(), "Troupe node", valid);
  require(X509_set_issuer_name(out.get(), X509_get_subject_name(issuer.get())));
  extend(out.get(), issuer.get(), NID_basic_constraints, "critical,CA:FALSE");
  extend(out.get(), issuer.get(), NID_key_usage, "critical,digitalSignature");
  extend(out.get(), issuer.get(), NID_ext_key_usage, "serverAuth,clientAuth");
  extend(out.get(), issuer.get(), NID_subject_key_identifier, "hash");
  extend(out.get(), issuer.get(), NID_authority_key_identifier, "keyid:always");
  return finish(out, key, issuer_key.get());
}

std::chrono::sys_seconds end_of_validity(const std::string& certificate) {
  const auto parsed = read_certificate(certificate);
  std::tm parts{};
  require(ASN1_TIME_to_tm(X509_get0_notAfter(parsed.get()), &parts));
  return std::chrono::sys_seconds(std::chrono::seconds(::timegm(&parts)));
}

}  // namespace troupe
