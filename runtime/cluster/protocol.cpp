#include "runtime/cluster/protocol.hpp"

#include "runtime/cluster/link_keeper.hpp"

namespace troupe {

void add_cluster_codecs(message_codecs& codecs) {
  codecs.add<meet_peers>("meet_peers");
  codecs.add<forget_peer>("forget_peer");
  codecs.add<prepare_job>("prepare_job");
  codecs.add<forget_kept>("forget_kept");
  codecs.add<spawn_actor>("spawn_actor");
  codecs.add<drain_node>("drain_node");
  codecs.add<leave_cluster>("leave_cluster");
  codecs.add<die_now>("die_now");
  codecs.add<node_prepared>("node_prepared");
  codecs.add<peer_lost>("peer_lost");
  codecs.add<drain_request>("drain_request");
  codecs.add<cut_request>("cut_request");
  add_link_codecs(codecs);
}

}  // namespace troupe
