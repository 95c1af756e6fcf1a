# Outside libraries, all from Debian packages, found by pkg-config (find_package(gRPC) needs the C++
# plugin, which we do not). Their headers count as system headers: our warnings are not theirs.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
foreach(pair
    "GRPC grpc" "GPR gpr" "PROTOBUF_C libprotobuf-c" "AVRO avro-c" "LMDB lmdb" "CURL libcurl" "YAML yaml-0.1"
    "JANSSON jansson" "MICROHTTPD libmicrohttpd" "CRYPTO libcrypto" "XXHASH libxxhash" "SQLITE sqlite3" "PQ libpq")
  separate_arguments(pair)
  list(GET pair 0 name)
  list(GET pair 1 module)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${module})
endforeach()
find_program(PROTOC_C protoc-c REQUIRED)

# libgrpc's .pc lists a hundred abseil libraries that are needed for static linking only.
add_library(tidemark_grpc INTERFACE)
target_link_libraries(tidemark_grpc INTERFACE -lgrpc -lgpr)
