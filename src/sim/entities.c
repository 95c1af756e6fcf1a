#include "sim/entities.h"

#define FIELD(name, type, value, doc)                                                                        \
    {                                                                                                        \
        name, type, value, doc, 0, NULL                                                                      \
    }
#define REQUIRED(name, type, value, doc)                                                                     \
    {                                                                                                        \
        name, type, value, doc, FIELD_REQUIRED, NULL                                                         \
    }
#define PICK(name, doc, choices)                                                                             \
    {                                                                                                        \
        name, TYPE_STRING, VALUE_PICK, doc, 0, choices                                                       \
    }

#define SYSTEM_FIELDS                                                                                        \
    REQUIRED("OwnerId", TYPE_STRING, VALUE_OWNER, "ForeignKey:EntityId"),                                    \
        REQUIRED("CreatedDate", TYPE_LONG, VALUE_CREATED_DATE, "CreatedDate:DateTime"),                      \
        REQUIRED("CreatedById", TYPE_STRING, VALUE_CREATED_BY, "CreatedBy:EntityId"),                        \
        REQUIRED("LastModifiedDate", TYPE_LONG, VALUE_MODIFIED_DATE, "Data:DateTime"),                       \
        REQUIRED("LastModifiedById", TYPE_STRING, VALUE_MODIFIED_BY, "ForeignKey:EntityId")

static const struct entity_field account_fields[] = {
    REQUIRED("Name", TYPE_SWITCHABLE_NAME, VALUE_COMPANY, "Data:Switchable_PersonName"),
    PICK("Type", "Data:DynamicEnum", "Prospect|Customer - Direct|Customer - Channel|Partner|Other"),
    FIELD("RecordTypeId", TYPE_STRING, VALUE_NONE, "ForeignKey:EntityId"),
    FIELD("ParentId", TYPE_STRING, VALUE_ACCOUNT, "ForeignKey:EntityId"),
    FIELD("BillingAddress", TYPE_ADDRESS, VALUE_ADDRESS, "Data:Address"),
    FIELD("ShippingAddress", TYPE_ADDRESS, VALUE_ADDRESS, "Data:Address"),
    FIELD("Phone", TYPE_STRING, VALUE_PHONE, "Data:Phone"),
    FIELD("Fax", TYPE_STRING, VALUE_PHONE, "Data:Phone"),
    FIELD("AccountNumber", TYPE_STRING, VALUE_CODE, "Data:Text"),
    FIELD("Website", TYPE_STRING, VALUE_URL, "Data:Url"),
    FIELD("Sic", TYPE_STRING, VALUE_CODE, "Data:Text"),
    PICK("Industry", "Data:DynamicEnum",
         "Agriculture|Banking|Energy|Healthcare|Manufacturing|Retail|Technology|Utilities"),
    FIELD("AnnualRevenue", TYPE_DOUBLE, VALUE_MONEY, "Data:Currency"),
    FIELD("NumberOfEmployees", TYPE_INT, VALUE_COUNT, "Data:Integer"),
    PICK("Ownership", "Data:DynamicEnum", "Public|Private|Subsidiary|Other"),
    FIELD("TickerSymbol", TYPE_STRING, VALUE_CODE, "Data:Text"),
    FIELD("Description", TYPE_STRING, VALUE_TEXT, "Data:StringPlusClob"),
    PICK("Rating", "Data:DynamicEnum", "Hot|Warm|Cold"),
    FIELD("Site", TYPE_STRING, VALUE_CODE, "Data:Text"),
    {"Region__c", TYPE_STRING, VALUE_PICK, "Data:DynamicEnum:00NSM00000A0008", FIELD_LATER,
     "North|South|Ost|Île-de-France"},
    SYSTEM_FIELDS,
    FIELD("Jigsaw", TYPE_STRING, VALUE_NONE, "Data:Text"),
    PICK("CleanStatus", "Data:StaticEnum", "Pending|Matched|Different"),
    PICK("AccountSource", "Data:DynamicEnum", "Web|Phone Inquiry|Partner Referral|Purchased List|Other"),
    PICK("CustomerPriority__c", "Data:DynamicEnum:00NSM00000A0001", "High|Medium|Low"),
    PICK("SLA__c", "Data:DynamicEnum:00NSM00000A0002", "Gold|Silver|Platinum|Bronze"),
    FIELD("SLAExpirationDate__c", TYPE_LONG, VALUE_DATE, "Data:DateOnly:00NSM00000A0003"),
    FIELD("NumberofLocations__c", TYPE_DOUBLE, VALUE_COUNT, "Data:Double:00NSM00000A0004"),
    FIELD("Credit_Limit__c", TYPE_DOUBLE, VALUE_MONEY, "Data:Currency:00NSM00000A0005"),
    FIELD("Support_Opens__c", TYPE_LONG, VALUE_TIME, "Data:TimeOnly:00NSM00000A0006"),
    FIELD("Key_Account__c", TYPE_BOOLEAN, VALUE_BOOLEAN, "Data:Boolean:00NSM00000A0007"),
};

static const struct entity_field contact_fields[] = {
    FIELD("AccountId", TYPE_STRING, VALUE_ACCOUNT, "ForeignKey:EntityId"),
    REQUIRED("Name", TYPE_PERSON_NAME, VALUE_PERSON, "Data:PersonName"),
    FIELD("OtherAddress", TYPE_ADDRESS, VALUE_ADDRESS, "Data:Address"),
    FIELD("MailingAddress", TYPE_ADDRESS, VALUE_ADDRESS, "Data:Address"),
    FIELD("Phone", TYPE_STRING, VALUE_PHONE, "Data:Phone"),
    FIELD("Fax", TYPE_STRING, VALUE_PHONE, "Data:Phone"),
    FIELD("MobilePhone", TYPE_STRING, VALUE_PHONE, "Data:Phone"),
    FIELD("ReportsToId", TYPE_STRING, VALUE_CONTACT, "ForeignKey:EntityId"),
    FIELD("Email", TYPE_STRING, VALUE_EMAIL, "Data:Email"),
    PICK("Title", "Data:Text",
         "CEO|CFO|Head of Purchasing|Ingénieure|Geschäftsführer|Directora|VP Sales|Buyer"),
    PICK("Department", "Data:Text", "Purchasing|Finance|IT|Marketing|Production"),
    PICK("LeadSource", "Data:DynamicEnum", "Web|Phone Inquiry|Partner Referral|Purchased List|Other"),
    FIELD("Birthdate", TYPE_LONG, VALUE_DATE, "Data:DateOnly"),
    FIELD("Description", TYPE_STRING, VALUE_TEXT, "Data:StringPlusClob"),
    SYSTEM_FIELDS,
    FIELD("HasOptedOutOfEmail", TYPE_BOOLEAN, VALUE_BOOLEAN, "Data:Boolean"),
    FIELD("DoNotCall", TYPE_BOOLEAN, VALUE_BOOLEAN, "Data:Boolean"),
    {"Languages__c", TYPE_STRING, VALUE_MULTIPICK, "Data:MultiEnum:00NSM00000C0001", 0,
     "English|Deutsch|Français|Español|日本語"},
    PICK("Level__c", "Data:DynamicEnum:00NSM00000C0002", "Primary|Secondary|Tertiary"),
};

static const struct entity_field opportunity_fields[] = {
    FIELD("AccountId", TYPE_STRING, VALUE_ACCOUNT, "ForeignKey:EntityId"),
    FIELD("IsPrivate", TYPE_BOOLEAN, VALUE_BOOLEAN, "Data:Boolean"),
    REQUIRED("Name", TYPE_STRING, VALUE_COMPANY, "Data:Text"),
    FIELD("Description", TYPE_STRING, VALUE_TEXT, "Data:StringPlusClob"),
    {"StageName", TYPE_STRING, VALUE_PICK, "Data:DynamicEnum", FIELD_REQUIRED,
     "Prospecting|Qualification|Proposal/Price Quote|Negotiation/Review|Closed Won|Closed Lost"},
    FIELD("Amount", TYPE_DOUBLE, VALUE_MONEY, "Data:Currency"),
    FIELD("Probability", TYPE_DOUBLE, VALUE_PERCENT, "Data:Percent"),
    FIELD("ExpectedRevenue", TYPE_DOUBLE, VALUE_MONEY, "Data:Currency"),
    FIELD("TotalOpportunityQuantity", TYPE_DOUBLE, VALUE_COUNT, "Data:Double"),
    REQUIRED("CloseDate", TYPE_LONG, VALUE_DATE, "Data:DateOnly"),
    PICK("Type", "Data:DynamicEnum",
         "Existing Customer - Upgrade|Existing Customer - Replacement|New Customer"),
    FIELD("NextStep", TYPE_STRING, VALUE_SENTENCE, "Data:Text"),
    PICK("LeadSource", "Data:DynamicEnum", "Web|Phone Inquiry|Partner Referral|Purchased List|Other"),
    FIELD("IsClosed", TYPE_BOOLEAN, VALUE_BOOLEAN, "Data:Boolean"),
    FIELD("IsWon", TYPE_BOOLEAN, VALUE_BOOLEAN, "Data:Boolean"),
    PICK("ForecastCategory", "Data:StaticEnum", "Omitted|Pipeline|BestCase|Forecast|Closed"),
    PICK("ForecastCategoryName", "Data:DynamicEnum", "Omitted|Pipeline|Best Case|Commit|Closed"),
    FIELD("CampaignId", TYPE_STRING, VALUE_NONE, "ForeignKey:EntityId"),
    FIELD("HasOpportunityLineItem", TYPE_BOOLEAN, VALUE_BOOLEAN, "Data:Boolean"),
    FIELD("Pricebook2Id", TYPE_STRING, VALUE_NONE, "ForeignKey:EntityId"),
    SYSTEM_FIELDS,
    FIELD("ContactId", TYPE_STRING, VALUE_CONTACT, "ForeignKey:EntityId"),
    FIELD("DeliveryInstallationStatus__c", TYPE_STRING, VALUE_SENTENCE, "Data:Text:00NSM00000P0001"),
    FIELD("OrderNumber__c", TYPE_STRING, VALUE_CODE, "Data:Text:00NSM00000P0002"),
    FIELD("MainCompetitors__c", TYPE_STRING, VALUE_COMPANY, "Data:Text:00NSM00000P0003"),
};

static const struct entity_field invoice_fields[] = {
    REQUIRED("OwnerId", TYPE_STRING, VALUE_OWNER, "ForeignKey:EntityId"),
    REQUIRED("Name", TYPE_STRING, VALUE_AUTONUMBER, "Data:Text"),
    REQUIRED("CreatedDate", TYPE_LONG, VALUE_CREATED_DATE, "CreatedDate:DateTime"),
    REQUIRED("CreatedById", TYPE_STRING, VALUE_CREATED_BY, "CreatedBy:EntityId"),
    REQUIRED("LastModifiedDate", TYPE_LONG, VALUE_MODIFIED_DATE, "Data:DateTime"),
    REQUIRED("LastModifiedById", TYPE_STRING, VALUE_MODIFIED_BY, "ForeignKey:EntityId"),
    FIELD("Account__c", TYPE_STRING, VALUE_ACCOUNT, "ForeignKey:EntityId:00NSM00000I0001"),
    REQUIRED("Amount__c", TYPE_DOUBLE, VALUE_MONEY, "Data:Currency:00NSM00000I0002"),
    FIELD("Tax_Rate__c", TYPE_DOUBLE, VALUE_PERCENT, "Data:Percent:00NSM00000I0003"),
    FIELD("Due_Date__c", TYPE_LONG, VALUE_DATE, "Data:DateOnly:00NSM00000I0004"),
    FIELD("Issued_At__c", TYPE_LONG, VALUE_DATETIME, "Data:DateTime:00NSM00000I0005"),
    FIELD("Pickup_Time__c", TYPE_LONG, VALUE_TIME, "Data:TimeOnly:00NSM00000I0006"),
    FIELD("Paid__c", TYPE_BOOLEAN, VALUE_BOOLEAN, "Data:Boolean:00NSM00000I0007"),
    PICK("Status__c", "Data:DynamicEnum:00NSM00000I0008", "Draft|Sent|Überfällig|Paid|Cancelled"),
    FIELD("Notes__c", TYPE_STRING, VALUE_TEXT, "Data:StringPlusClob:00NSM00000I0009"),
    FIELD("Contact_Email__c", TYPE_STRING, VALUE_EMAIL, "Data:Email:00NSM00000I0010"),
    FIELD("Lines__c", TYPE_DOUBLE, VALUE_COUNT, "Data:Double:00NSM00000I0011"),
    FIELD("Delivered_To__c", TYPE_LOCATION, VALUE_LOCATION, "Data:Location:00NSM00000I0012"),
};

static const struct entity_field order_fields[] = {
    {"CreatedDate", TYPE_LONG, VALUE_CREATED_DATE, "CreatedDate:DateTime", FIELD_REQUIRED | FIELD_NOT_NULL,
     NULL},
    {"CreatedById", TYPE_STRING, VALUE_CREATED_BY, "CreatedBy:EntityId", FIELD_REQUIRED | FIELD_NOT_NULL,
     NULL},
    REQUIRED("Order_Number__c", TYPE_STRING, VALUE_CODE, "Data:Text:00NSM00000E0001"),
    FIELD("Account_Id__c", TYPE_STRING, VALUE_ACCOUNT, "Data:Text:00NSM00000E0002"),
    REQUIRED("Amount__c", TYPE_DOUBLE, VALUE_MONEY, "Data:Double:00NSM00000E0003"),
    FIELD("Quantity__c", TYPE_DOUBLE, VALUE_COUNT, "Data:Double:00NSM00000E0004"),
    FIELD("Ordered_At__c", TYPE_LONG, VALUE_DATETIME, "Data:DateTime:00NSM00000E0005"),
    FIELD("Ship_Date__c", TYPE_LONG, VALUE_DATE, "Data:DateOnly:00NSM00000E0006"),
    FIELD("Express__c", TYPE_BOOLEAN, VALUE_BOOLEAN, "Data:Boolean:00NSM00000E0007"),
    FIELD("Comment__c", TYPE_STRING, VALUE_SENTENCE, "Data:StringPlusClob:00NSM00000E0008"),
};

const struct entity entities[ENTITY_COUNT] = {
    {"Account", "/data/AccountChangeEvent", "AccountChangeEvent", "001", ARRAY_LEN(account_fields),
     account_fields},
    {"Contact", "/data/ContactChangeEvent", "ContactChangeEvent", "003", ARRAY_LEN(contact_fields),
     contact_fields},
    {"Opportunity", "/data/OpportunityChangeEvent", "OpportunityChangeEvent", "006",
     ARRAY_LEN(opportunity_fields), opportunity_fields},
    {"Invoice__c", "/data/Invoice__ChangeEvent", "Invoice__ChangeEvent", "a00", ARRAY_LEN(invoice_fields),
     invoice_fields},
    {"Order__e", "/event/Order__e", "Order__e", NULL, ARRAY_LEN(order_fields), order_fields},
};

static const struct component address_components[] = {
    {"Street", TYPE_STRING},          {"City", TYPE_STRING},     {"State", TYPE_STRING},
    {"PostalCode", TYPE_STRING},      {"Country", TYPE_STRING},  {"StateCode", TYPE_STRING},
    {"CountryCode", TYPE_STRING},     {"Latitude", TYPE_DOUBLE}, {"Longitude", TYPE_DOUBLE},
    {"GeocodeAccuracy", TYPE_STRING},
};
static const struct component name_components[] = {
    {"Salutation", TYPE_STRING}, {"FirstName", TYPE_STRING}, {"LastName", TYPE_STRING}};
static const struct component location_components[] = {{"Latitude", TYPE_DOUBLE}, {"Longitude", TYPE_DOUBLE}};

const struct component *type_components(enum field_type type, unsigned *n)
{
    switch (type) {
    case TYPE_ADDRESS:
        *n = ARRAY_LEN(address_components);
        return address_components;
    case TYPE_PERSON_NAME:
    case TYPE_SWITCHABLE_NAME:
        *n = ARRAY_LEN(name_components);
        return name_components;
    case TYPE_LOCATION:
        *n = ARRAY_LEN(location_components);
        return location_components;
    default:
        *n = 0;
        return NULL;
    }
}

unsigned type_leaves(enum field_type type)
{
    unsigned n;
    type_components(type, &n);
    return type == TYPE_SWITCHABLE_NAME ? n + 1 : n ? n : 1;
}

unsigned entity_first_leaf(const struct entity *entity, unsigned f)
{
    unsigned leaf = 0;
    for (unsigned i = 0; i < f; i++)
        leaf += type_leaves(entity->fields[i].type);
    return leaf;
}

unsigned entity_leaves(const struct entity *entity)
{
    return entity_first_leaf(entity, entity->n_fields);
}

bool entity_has_field(const struct entity *entity, unsigned f, bool extended)
{
    return extended || !(entity->fields[f].flags & FIELD_LATER);
}

unsigned entity_schema_index(const struct entity *entity, unsigned f, bool extended)
{
    unsigned index = entity->key_prefix ? 1 : 0;
    for (unsigned i = 0; i < f; i++)
        index += entity_has_field(entity, i, extended);
    return index;
}

/* --- schema JSON ------------------------------------------------------------------------------- */

static const char header_json[] =
    "{\"name\":\"ChangeEventHeader\",\"type\":{\"type\":\"record\",\"name\":\"ChangeEventHeader\",\"fields\":"
    "["
    "{\"name\":\"entityName\",\"type\":\"string\"},"
    "{\"name\":\"recordIds\",\"type\":{\"type\":\"array\",\"items\":\"string\"}},"
    "{\"name\":\"changeType\",\"type\":{\"type\":\"enum\",\"name\":\"ChangeType\",\"symbols\":[\"CREATE\","
    "\"UPDATE\","
    "\"DELETE\",\"UNDELETE\",\"GAP_CREATE\",\"GAP_UPDATE\",\"GAP_DELETE\",\"GAP_UNDELETE\",\"GAP_OVERFLOW\","
    "\"SNAPSHOT\"]}},"
    "{\"name\":\"changeOrigin\",\"type\":\"string\"},"
    "{\"name\":\"transactionKey\",\"type\":\"string\"},"
    "{\"name\":\"sequenceNumber\",\"type\":\"int\"},"
    "{\"name\":\"commitTimestamp\",\"type\":\"long\"},"
    "{\"name\":\"commitNumber\",\"type\":\"long\"},"
    "{\"name\":\"commitUser\",\"type\":\"string\"},"
    "{\"name\":\"nulledFields\",\"type\":{\"type\":\"array\",\"items\":\"string\"}},"
    "{\"name\":\"diffFields\",\"type\":{\"type\":\"array\",\"items\":\"string\"}},"
    "{\"name\":\"changedFields\",\"type\":{\"type\":\"array\",\"items\":\"string\"}}]},"
    "\"doc\":\"Data:ComplexValueType\"}";

static const char *primitive_name(enum field_type type)
{
    switch (type) {
    case TYPE_DOUBLE:
        return "\"double\"";
    case TYPE_INT:
        return "\"int\"";
    case TYPE_LONG:
        return "\"long\"";
    case TYPE_BOOLEAN:
        return "\"boolean\"";
    default:
        return "\"string\"";
    }
}

static const char *record_name(enum field_type type)
{
    switch (type) {
    case TYPE_ADDRESS:
        return "Address";
    case TYPE_PERSON_NAME:
        return "PersonName";
    case TYPE_SWITCHABLE_NAME:
        return "Switchable_PersonName";
    default:
        return "Location";
    }
}

/* The record is defined where it appears first and named after that. */
static void add_compound(struct buf *out, enum field_type type, unsigned *defined)
{
    if (*defined & 1u << type) {
        buf_addf(out, "\"%s\"", record_name(type));
        return;
    }
    *defined |= 1u << type;
    unsigned n;
    const struct component *components = type_components(type, &n);
    buf_addf(out, "{\"type\":\"record\",\"name\":\"%s\",\"fields\":[", record_name(type));
    for (unsigned i = 0; i < n; i++)
        buf_addf(out, "%s{\"name\":\"%s\",\"type\":[\"null\",%s],\"default\":null}", i ? "," : "",
                 components[i].name, primitive_name(components[i].type));
    buf_add_str(out, "]}");
}

static void add_field(struct buf *out, const struct entity_field *field, unsigned *defined)
{
    unsigned n;
    bool nullable = !(field->flags & FIELD_NOT_NULL);
    buf_addf(out, "{\"name\":\"%s\",\"type\":%s", field->name, nullable ? "[\"null\"," : "");
    if (field->type == TYPE_SWITCHABLE_NAME)
        buf_add_str(out, "\"string\",");
    if (type_components(field->type, &n))
        add_compound(out, field->type, defined);
    else
        buf_add_str(out, primitive_name(field->type));
    buf_addf(out, "%s,\"doc\":\"%s\"%s}", nullable ? "]" : "", field->doc,
             nullable ? ",\"default\":null" : "");
}

void entity_schema_json(struct buf *out, const struct entity *entity, bool extended)
{
    unsigned defined = 0;
    bool is_change = entity->key_prefix != NULL;
    buf_addf(out, "{\"type\":\"record\",\"name\":\"%s\",\"namespace\":\"com.sforce.eventbus\",\"fields\":[",
             entity->record);
    if (is_change)
        buf_add_str(out, header_json);
    for (unsigned f = 0; f < entity->n_fields; f++) {
        if (!entity_has_field(entity, f, extended))
            continue;
        if (f || is_change)
            buf_add_char(out, ',');
        add_field(out, &entity->fields[f], &defined);
    }
    buf_add_str(out, "]}");
}
