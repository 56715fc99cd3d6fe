# Strangers that speak TLS by hand.
target_link_libraries(test_runtime_transport PRIVATE PkgConfig::SSL PkgConfig::CRYPTO)
