@0xb5c8a1d27e4f9036;

# The envelope of a parcel between processes. Where it stands in a frame is told in runtime/transport/README.md.

using Cxx = import "/capnp/c++.capnp";
using Checkpoint = import "checkpoint.capnp";
$Cxx.namespace("troupe::wire");

struct Parcel {
  to @0 :Address;
  from @1 :Address;               # an empty name: nobody expects an answer
  type @2 :Text;                  # of the message, as its codec is registered
  body @3 :Data;                  # its fields, without elements of tensors
  tensors @4 :List(TensorHead);   # their bytes follow the envelope, in this order, without gaps
  deviceLink @5 :UInt64;          # by which some of them travel; 0: by none
}

struct Address {
  node @0 :UInt32;
  name @1 :Text;
  incarnation @2 :UInt64;
}

struct TensorHead {
  type @0 :Checkpoint.ElementType;
  extents @1 :List(Int64);        # outermost first
  absent @2 :Bool;                # an empty handle: no elements, and the other fields mean nothing
  byDeviceLink @3 :Bool;          # it has no bytes here
}
