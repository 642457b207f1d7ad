-- What the documentation lets a caller register besides names: whom to invoice, and where the customer came from.

alter table customer
  add column company_registration_number text,
  add column tax_identification_number   text,
  -- The customer's own address, as the caller's web server saw it (customerRealIp): an address, never a network.
  add column real_ip                     inet
    constraint customer_real_ip_is_host check (masklen(real_ip) = case family(real_ip) when 4 then 32 else 128 end);
