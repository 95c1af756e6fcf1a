#include "base/http.h"
/* placeholder until the auth work lands: see http.h */
