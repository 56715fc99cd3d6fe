#pragma once

/// Makes what `tls_options` asks for: a small authority, and certificates of nodes.

#include <chrono>
#include <string>

namespace troupe {

struct validity {
  std::chrono::sys_seconds from, until;
};

/// A certificate and its key, ECDSA on P-256, as the text of PEM files.
struct certificate_and_key {
  std::string certificate;
  std::string key;
};

/// Signed by itself, and able to sign certificates of nodes only. Throws system_error.
certificate_and_key make_authority(const validity& valid);

/// For both ends of a link. Throws input_error where the authority's texts are none, or no pair, and system_error.
certificate_and_key make_node_certificate(const certificate_and_key& authority, const validity& valid);

/// When it ends. Throws input_error where the text is no certificate.
std::chrono::sys_seconds end_of_validity(const std::string& certificate);

}  // namespace troupe
