/// A library, but not of devices.

extern "C" int something_else() { return 0; }
