#include "event/json_line.h"
