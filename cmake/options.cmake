# Compiler and linker options of every target of ours.
add_library(tidemark_options INTERFACE)
target_compile_definitions(tidemark_options INTERFACE _GNU_SOURCE)
target_compile_options(tidemark_options INTERFACE
  -Wall -Wextra -Wvla -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wformat=2 -Wundef
  $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation> # err, reason and subject texts are cut on purpose
  -Wpointer-arith -Wwrite-strings -Wold-style-definition -fno-common -fno-strict-aliasing
  -fstack-protector-strong -fPIE
  "-ffile-prefix-map=${CMAKE_SOURCE_DIR}/=")
target_link_options(tidemark_options INTERFACE -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed)
if(TIDEMARK_WERROR)
  target_compile_options(tidemark_options INTERFACE -Werror)
endif()
if(TIDEMARK_KILLPOINTS)
  target_compile_definitions(tidemark_options INTERFACE TIDEMARK_KILLPOINTS=1)
endif()
if(TIDEMARK_SANITIZE)
  list(JOIN TIDEMARK_SANITIZE "," _sanitizers)
  target_compile_options(tidemark_options INTERFACE -fsanitize=${_sanitizers} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(tidemark_options INTERFACE -fsanitize=${_sanitizers})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  target_compile_definitions(tidemark_options INTERFACE _FORTIFY_SOURCE=2)
endif()
