# cmake -DINPUT=file -DOUTPUT=file.c -DFUNCTION=name -DHEADER=its/header.h -P embed_text.cmake
#
# Writes a C file whose FUNCTION returns the text of INPUT, NUL-terminated.
file(READ "${INPUT}" hex HEX)
string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE "${OUTPUT}"
  "#include \"${HEADER}\"\n\n"
  "static const unsigned char text[] = {\n${bytes}0x00};\n\n"
  "const char *${FUNCTION}(void)\n{\n    return (const char *)text;\n}\n")
