# tidemark_folder(NAME SOURCES file... [USES folder...] [LIBS target...])
#
# Declares src/NAME as an OBJECT library. USES names the folders whose headers it may include; the
# same list, closed over, gives its objects to an executable. LIBS are the outside libraries whose
# headers only this folder may include.
function(tidemark_folder name)
  cmake_parse_arguments(arg "" "" "SOURCES;USES;LIBS" ${ARGN})
  set(root "${CMAKE_BINARY_DIR}/include/${name}")
  file(MAKE_DIRECTORY "${root}")
  file(CREATE_LINK "${CMAKE_SOURCE_DIR}/src/${name}" "${root}/${name}" SYMBOLIC)
  add_library(${name} OBJECT ${arg_SOURCES})
  target_include_directories(${name} PRIVATE "${root}")
  foreach(used ${arg_USES})
    target_include_directories(${name} PRIVATE "${CMAKE_BINARY_DIR}/include/${used}")
  endforeach()
  target_link_libraries(${name} PRIVATE tidemark_options ${arg_LIBS})
  set_target_properties(${name} PROPERTIES TIDEMARK_USES "${arg_USES}" TIDEMARK_LIBS "${arg_LIBS}")
endfunction()

# tidemark_part(FOLDER NAME SOURCES file... LIBS target...)
#
# Declares src/FOLDER/NAME, a part of FOLDER that alone sees the outside libraries LIBS, as an OBJECT library
# of its own. It includes what FOLDER may include, and goes wherever FOLDER is linked.
function(tidemark_part folder name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  get_target_property(uses ${folder} TIDEMARK_USES)
  list(FILTER uses EXCLUDE REGEX "^${folder}_")
  add_library(${folder}_${name} OBJECT ${arg_SOURCES})
  foreach(used ${folder} ${uses})
    target_include_directories(${folder}_${name} PRIVATE "${CMAKE_BINARY_DIR}/include/${used}")
  endforeach()
  target_link_libraries(${folder}_${name} PRIVATE tidemark_options ${arg_LIBS})
  set_target_properties(${folder}_${name} PROPERTIES TIDEMARK_USES "${uses}" TIDEMARK_LIBS "${arg_LIBS}")
  set_property(TARGET ${folder} APPEND PROPERTY TIDEMARK_USES ${folder}_${name})
endfunction()

# tidemark_link(TARGET folder...): link the objects of these folders, and of all they use, into an
# executable, with their outside libraries and their include roots.
function(tidemark_link target)
  set(todo ${ARGN})
  set(done)
  while(todo)
    list(POP_FRONT todo folder)
    if(folder IN_LIST done)
      continue()
    endif()
    list(APPEND done ${folder})
    get_target_property(uses ${folder} TIDEMARK_USES)
    get_target_property(libs ${folder} TIDEMARK_LIBS)
    if(uses)
      list(APPEND todo ${uses})
    endif()
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${folder}>)
    if(IS_DIRECTORY "${CMAKE_BINARY_DIR}/include/${folder}") # a part has none of its own
      target_include_directories(${target} PRIVATE "${CMAKE_BINARY_DIR}/include/${folder}")
    endif()
    if(libs)
      target_link_libraries(${target} PRIVATE ${libs})
    endif()
  endwhile()
  target_link_libraries(${target} PRIVATE tidemark_options Threads::Threads)
endfunction()
