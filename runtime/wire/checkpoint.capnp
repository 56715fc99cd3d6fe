@0xd0f3f73fd13b6802;

# What a checkpoint says about itself. A cut is one directory:
#
#   step-000000123/
#     manifest.bin      Manifest
#     shard-0000.bin    tensors, then Shard
#     shard-0001.bin
#
# Every file is  payload | message | zeros | footer  and a multiple of 4096 bytes long. The payload of a shard is its
# tensors, in the order of its table, each followed by zeros up to the next multiple of 64; a manifest has none. The
# footer is the last 64 bytes, little-endian:
#
#   magic "TROUPECK" | version :UInt32 = 1 | kind :UInt32 (0 manifest, 1 shard, 2 journal) | message offset :UInt64
#   | message size :UInt64 | message checksum | checksum of the footer's first 48 bytes
#
# A checksum is an xxh3-128, low half first. Checksums form a tree that covers every byte: the manifest's message holds
# those of the shards' messages, which hold those of the tensors. A message's reaches up to the footer.
#
# The journal of a run on a cluster is a file of the same form, without payload.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::wire");

struct Manifest {
  step @0 :UInt64;                # updates done when the cut was taken
  epoch @1 :UInt64;               # of the job
  created @2 :Text;               # ISO 8601, UTC
  documents @3 :List(Document);   # sorted by name
  shards @4 :List(ShardFile);     # shard i is in shard-<i, four digits or more>.bin
}

struct Document {
  # What a reader needs besides tensors: the resolved configuration, the tokenizer, ...
  name @0 :Text;
  content @1 :Data;
}

struct ShardFile {
  sizeBytes @0 :UInt64;
  checksum @1 :Checksum;          # of the file's message
}

struct Checksum {
  low @0 :UInt64;
  high @1 :UInt64;
}

struct Shard {
  shard @0 :UInt32;
  step @1 :UInt64;                # of the cut
  version @2 :UInt64;             # updates this shard has applied
  lanes @3 :List(LaneProgress);
  tensors @4 :List(Tensor);       # in order of offset, without gaps
}

struct Journal {
  run @0 :Text;                   # drawn when the run began, and kept by whoever resumes it
  head @1 :Text;                  # drawn by the process that owns the run now
  epoch @2 :UInt64;               # of the job, the latest
  inMemory @3 :CutId;             # the newest cut that nodes held whole in memory; absent: none
}

struct CutId {
  epoch @0 :UInt64;               # in which it was taken
  step @1 :UInt64;
}

struct LaneProgress {
  lane @0 :UInt32;
  nextStep @1 :UInt64;            # all gradients of earlier steps were applied, each once
  applied @2 :UInt64;             # gradients that had effect, counted
}

struct Tensor {
  name @0 :Text;
  type @1 :ElementType;
  extents @2 :List(Int64);        # outermost first
  offset @3 :UInt64;              # in the file; a multiple of 64
  sizeBytes @4 :UInt64;
  checksum @5 :Checksum;          # of the bytes and the zeros after them
}

enum ElementType {
  float32 @0;
  float64 @1;
  bfloat16 @2;
  float16 @3;
  int64 @4;
  int32 @5;
  uint16 @6;
  uint8 @7;
}
