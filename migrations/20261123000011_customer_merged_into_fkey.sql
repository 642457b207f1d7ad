-- Merged into a customer of the same organisation that exists. Costs nothing while merged_into_id is null.

alter table customer
  add constraint customer_merged_into_fkey
    foreign key (organisation_id, merged_into_id) references customer (organisation_id, id);
